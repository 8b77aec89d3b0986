import { z } from "zod";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { formOf } from "../../engine/elicitation.ts";
import type { McpQuestion } from "../../engine/mcp-pending.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import { withoutCredentials } from "./result-text.ts";

/** The most rounds of questions of one call, and the most questions of one round. */
const MAX_ROUNDS = 10;
const MAX_QUESTIONS = 8;
/** Characters of the questions of one round, as JSON. */
const MAX_CHARS = 65_536;

const Elicitation = z.object({
  method: z.literal("elicitation/create"),
  params: z.union([
    z.object({
      mode: z.literal("url"),
      message: z.string(),
      url: z.url({ protocol: /^https?$/ }).max(2_048),
    }),
    z.object({ mode: z.literal("form").optional(), message: z.string(), requestedSchema: JsonRecord }),
  ]),
});

/** Bounds the rounds of questions of a call. @throws ToolRejection `mcp_input_required` */
export function requireRound(round: number, { name }: McpServer): void {
  if (round > MAX_ROUNDS) throw refusal(name, `it has asked ${MAX_ROUNDS} times, and asks again`);
}

/**
 * The questions that a server asks a person, without its credentials. A page to visit is a question with its address and without fields:
 * the person opens the page, and then accepts. The server learns from the page itself what was done there.
 * @throws ToolRejection `mcp_input_required` for what no person can do (samples of a model, roots), or too large
 */
export function questionsOf(requests: Record<string, unknown>, server: McpServer): McpQuestion[] {
  const { name: of } = server;
  const named = Object.entries(requests);
  if (named.length > MAX_QUESTIONS) {
    throw refusal(of, `it asks ${named.length} questions at once, and may ask ${MAX_QUESTIONS}`);
  }
  const questions = named.map(([name, request]) => {
    const parsed = Elicitation.safeParse(request);
    if (!parsed.success)
      throw refusal(of, "it asks for something else than a form to fill in or a page to visit");
    const { params } = parsed.data;
    const isPage = params.mode === "url";
    const message = isPage ? `${params.message}\n${params.url}` : params.message;
    const schema = isPage ? {} : params.requestedSchema;
    formOf(schema);
    return { name, message: withoutCredentials(message, server), schema };
  });
  const chars = JSON.stringify(questions).length;
  if (chars > MAX_CHARS)
    throw refusal(of, `its questions have ${chars} characters, and may have ${MAX_CHARS}`);
  return questions;
}

function refusal(name: string, why: string): ToolRejection {
  return new ToolRejection(`the MCP server ${name} asks for input that no run can give: ${why}`, {
    code: "mcp_input_required",
  });
}
