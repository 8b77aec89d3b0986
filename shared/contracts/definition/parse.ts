import { z } from "zod";
import { AgentDocument, agentErrors, DELEGATE_TOOL, runnableAgent } from "./agent.ts";
import { useSentences } from "../schema-messages.ts";
import { codeErrors } from "./code.ts";
import { agentModelErrors, stepModelErrors } from "./models.ts";
import type { MoneyRules } from "./models.ts";
import { approvalErrors } from "./approval-errors.ts";
import { formErrors, repeatedFormKeys } from "./forms.ts";
import { impossibleReferences, namedByAgent, referencesOf } from "./references.ts";
import { misspelledPlaceholderErrors, missingItemErrors, validateGraph } from "./graph.ts";
import { McpServerDocument } from "./mcp-server.ts";
import { OrchestrationDocument } from "./orchestration.ts";
import { ANSWER_TOOL, outputSchemaErrors } from "./output-schema.ts";
import { headerErrors, toolRequestErrors } from "./tool-request.ts";
import { toolSchemaErrors } from "./tool-schema-errors.ts";
import { ToolDocument } from "./tool.ts";
import { unreadValues } from "./unread-values.ts";
import { fieldErrorsOf } from "../../errors.ts";
import { stepsWithoutEnd } from "./walks.ts";
import type { FieldError } from "../../errors.ts";
import type { Agent } from "./agent.ts";
import type { McpServer } from "./mcp-server.ts";
import type { Orchestration } from "./orchestration.ts";
import type { Tool } from "./tool.ts";

useSentences();

/**
 * A definition, or why there is none: fields are wrong (`invalid`), or all fields are valid and some ask for what
 * is not implemented (`not_yet`).
 */
export type Parsed<Definition> =
  | { ok: true; definition: Definition }
  | { ok: false; code: "invalid" | "not_yet"; errors: FieldError[] };

/**
 * Parses an orchestration and checks it as a graph. Paths of errors look like `steps[2].route_map.approved`. Never
 * throws.
 */
export function parseOrchestration(json: unknown): Parsed<Orchestration> {
  return graphOf(OrchestrationDocument.safeParse(json));
}

function graphOf(document: z.ZodSafeParseResult<OrchestrationDocument>): Parsed<Orchestration> {
  if (!document.success) return invalid(fieldErrorsOf(document.error));
  const errors = validateGraph(document.data);
  if (errors.length > 0) return invalid(errors);
  return { ok: true, definition: document.data };
}

const NOT_BY_ITSELF =
  "an orchestration is not started by its own trigger yet: leave it out, and save a schedule with PUT /api/v2/schedules/{id}";

/**
 * Parses an orchestration that is to be saved. It must be executable, and every part of it must have the effect that it
 * names. These further rules hold for a save alone: versions that were saved before a rule existed are executed as they are.
 */
export function parseNewOrchestration(json: unknown, money: MoneyRules = {}): Parsed<Orchestration> {
  const schema = asJsonSchema(json);
  if (schema.length > 0) return invalid(schema);
  const document = OrchestrationDocument.safeParse(json);
  const parsed = graphOf(document);
  const more = document.success ? newErrors(document.data, money) : [];
  if (parsed.ok)
    more.push(...stepsWithoutEnd(parsed.definition.steps), ...missingItemErrors(parsed.definition));
  if (more.length > 0) return alsoInvalid(parsed, more);
  const isScheduled = parsed.ok && parsed.definition.trigger === "scheduled";
  return isScheduled ? notYet([{ path: "trigger", message: NOT_BY_ITSELF }]) : parsed;
}

const JsonSchema = z.object({ state_schema: z.object({ type: z.string() }) });

/** The one error of a `state_schema` that is a JSON Schema: those of its parts would speak of keys that nobody meant. */
function asJsonSchema(json: unknown): FieldError[] {
  if (!JsonSchema.safeParse(json).success) return [];
  const message =
    'is no JSON Schema: it has the keys of state themselves, each with its type, as {"team": {"type": "string"}}';
  return [{ path: "state_schema", message }];
}

function newErrors(document: OrchestrationDocument, money: MoneyRules): FieldError[] {
  return [
    ...misspelledPlaceholderErrors(document),
    ...codeErrors(document),
    ...stepModelErrors(document, money),
    ...unreadValues(document),
    ...outputSchemaErrors(document),
    ...impossibleReferences(referencesOf(document)),
    ...repeatedFormKeys(document),
    ...formErrors(document),
    ...approvalErrors(document),
  ];
}

/** Parses an agent that is to be saved, as `parseNewOrchestration` does. */
export function parseNewAgent(json: unknown): Parsed<Agent> {
  const document = AgentDocument.safeParse(json);
  const more = document.success
    ? [
        ...agentModelErrors(document.data),
        ...impossibleReferences(namedByAgent(document.data)),
        ...delegatesToItself(document.data),
      ]
    : [];
  return alsoInvalid(parseAgent(json), more);
}

function delegatesToItself({ id, delegate_agent_ids: delegates }: AgentDocument): FieldError[] {
  const at = delegates.indexOf(id);
  return at < 0 ? [] : [{ path: `delegate_agent_ids[${at}]`, message: "an agent cannot delegate to itself" }];
}

/** Parses an agent. Never throws. */
export function parseAgent(json: unknown): Parsed<Agent> {
  const parsed = AgentDocument.safeParse(json);
  if (!parsed.success) return invalid(fieldErrorsOf(parsed.error));
  const errors = agentErrors(parsed.data);
  if (errors.length > 0) return invalid(errors);
  const agent = runnableAgent(parsed.data);
  if (agent === null) {
    return notYet([{ path: "type", message: `agents of type ${parsed.data.type} are not available yet` }]);
  }
  // An orchestrator has no tools of its own, whatever it names: the steps of its orchestration have.
  const all = agent.type === "orchestrator" ? -1 : agent.tools.indexOf("all");
  if (all >= 0) {
    return notYet([{ path: `tools[${all}]`, message: `"all" is not available yet: list the tools by name` }]);
  }
  if (agent.type === "delegate" && agent.delegate_agent_ids.length === 0) {
    const message = "an empty list, for all agents, is not available yet: list the agents by their ids";
    return notYet([{ path: "delegate_agent_ids", message }]);
  }
  return { ok: true, definition: agent };
}

/** Parses a tool that is to be saved, as `parseNewOrchestration` does. */
export function parseNewTool(json: unknown): Parsed<Tool> {
  const parsed = parseTool(json);
  if (!parsed.ok) return parsed;
  const { definition } = parsed;
  const ofHttp =
    definition.tool_type === "http"
      ? [...toolRequestErrors(definition), ...toolSchemaErrors(definition.inputSchema)]
      : [];
  return alsoInvalid(parsed, [...reservedNames(definition), ...ofHttp]);
}

/** A tool under one of these names could never be called: the engine's own tool comes before it. */
function reservedNames({ name }: Tool): FieldError[] {
  return name === DELEGATE_TOOL || name === ANSWER_TOOL
    ? [{ path: "name", message: `"${name}" is the name of a tool of the engine: choose another one` }]
    : [];
}

/** Parses a tool. Never throws. */
export function parseTool(json: unknown): Parsed<Tool> {
  const parsed = ToolDocument.safeParse(json);
  if (!parsed.success) return invalid(fieldErrorsOf(parsed.error));
  if (parsed.data.tool_type !== "python") return { ok: true, definition: parsed.data };
  return notYet([
    {
      path: "tool_type",
      message: `tools of type ${parsed.data.tool_type} are not available yet: let a tool of type http or sql do the same, or a transform step in JavaScript`,
    },
  ]);
}

const parsedTools = new WeakMap<object, Parsed<Tool>>();

/** As `parseTool`, once for each object: it must not change. A step reads the same stored tool for each of its calls. */
export function parseToolOnce(stored: Readonly<Record<string, unknown>>): Parsed<Tool> {
  const parsed = parsedTools.get(stored) ?? parseTool(stored);
  parsedTools.set(stored, parsed);
  return parsed;
}

/** Parses an MCP server that is to be saved. */
export function parseNewMcpServer(json: unknown): Parsed<McpServer> {
  const parsed = parseMcpServer(json);
  return parsed.ok ? alsoInvalid(parsed, headerErrors(parsed.definition.headers)) : parsed;
}

/** Parses an MCP server. Never throws. */
export function parseMcpServer(json: unknown): Parsed<McpServer> {
  const parsed = McpServerDocument.safeParse(json);
  if (!parsed.success) return invalid(fieldErrorsOf(parsed.error));
  const { token, server_type, ...server } = parsed.data;
  if (server_type === "stdio") {
    const wrong = stdioErrors(parsed.data);
    return wrong.length > 0 ? invalid(wrong) : { ok: true, definition: { ...server, server_type } };
  }
  const hasHeader = Object.keys(server.headers).some((name) => name.toLowerCase() === "authorization");
  const errors = [
    ...urlErrors(server.url),
    ...(server.command === "" ? [] : [{ path: "command", message: "is for servers of type stdio" }]),
    ...(token !== "" && hasHeader
      ? [
          {
            path: "token",
            message: "is sent as the header Authorization, which headers has too: leave one out",
          },
        ]
      : []),
    ...(server.oauth !== null && (token !== "" || hasHeader)
      ? [
          {
            path: "oauth",
            message: "gives the header Authorization, which the server has already: leave one out",
          },
        ]
      : []),
  ];
  if (errors.length > 0) return invalid(errors);
  const headers = token === "" ? server.headers : { ...server.headers, Authorization: `Bearer ${token}` };
  return { ok: true, definition: { ...server, server_type, headers } };
}

/** The operator's command has all that such a server needs: what a client could add would be executed on the worker's machine. */
function stdioErrors({ url, token, oauth, headers, command }: McpServerDocument): FieldError[] {
  const unread = Object.entries({ url, token, oauth: oauth ?? "", headers: Object.keys(headers).join("") });
  return [
    ...(/^[A-Za-z0-9_-]+$/.test(command)
      ? []
      : [{ path: "command", message: "must be the name of an entry of the operator's MCP_STDIO_ALLOW" }]),
    ...unread.flatMap(([path, value]) =>
      value === "" ? [] : [{ path, message: "is for servers of type remote" }],
    ),
  ];
}

function urlErrors(url: string): FieldError[] {
  const parsed = URL.parse(url);
  const message =
    parsed === null || !/^https?:$/.test(parsed.protocol)
      ? "must be the http or https URL of the MCP server"
      : parsed.username !== "" || parsed.password !== ""
        ? "must have no user or password: send them as the header Authorization"
        : /[{}]/.test(url) || parsed.hash !== "" || !url.isWellFormed()
          ? "must have no placeholder, no # and no half of a surrogate pair"
          : null;
  return message === null ? [] : [{ path: "url", message }];
}

function invalid(errors: FieldError[]): Parsed<never> {
  return { ok: false, code: "invalid", errors };
}

/** The result of a parser, with more errors. They take precedence over `not_yet`. */
function alsoInvalid<Definition>(parsed: Parsed<Definition>, more: FieldError[]): Parsed<Definition> {
  if (more.length === 0) return parsed;
  return invalid(parsed.ok || parsed.code === "not_yet" ? more : [...parsed.errors, ...more]);
}

function notYet(errors: FieldError[]): Parsed<never> {
  return { ok: false, code: "not_yet", errors };
}
