import { createServer } from "node:http";
import type { Server, ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { addDeltas } from "../../shared/events/delta-text.ts";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { slowPeer } from "../services/waiting.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

type Answer = (response: ServerResponse) => void;

/** The model's next answers, in order. */
const answers: Answer[] = [];
let model: Server;
let api: FlowApi;
beforeAll(async () => {
  model = createServer((request, response) => {
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      answers.shift()?.(response);
    });
  });
  await new Promise<void>((resolve) => model.listen(0, "127.0.0.1", resolve));
  api = await startApi();
  const base = `http://127.0.0.1:${portOf(model)}/v1`;
  await api.startWorker("w1", { OPENAI_COMPATIBLE_BASE_URL: base, OPENAI_COMPATIBLE_API_KEY: "none" });
  await api.define("orchestrations", "writes", {
    name: "Writes",
    entry_step_id: "write",
    steps: [
      {
        id: "write",
        name: "Write",
        type: "llm",
        model: "openai-compatible/m1",
        prompt_template: "go",
        output_key: "out",
        retry: { attempts: 3, base_seconds: 0.1, max_seconds: 1 },
      },
    ],
  });
});
afterAll(async () => {
  await api.stop();
  model.closeAllConnections();
  model.close();
});

function chunk(delta: object, finish_reason: string | null = null): string {
  const choices = [{ index: 0, delta, finish_reason }];
  const event = { id: "c", object: "chat.completion.chunk", created: 1, model: "m1", choices };
  return `data: ${JSON.stringify(event)}\n\n`;
}

/** Answers in these pieces, all at once. */
const text =
  (...pieces: string[]): Answer =>
  (response) =>
    response.end(
      `${pieces.map((content) => chunk({ content })).join("")}${chunk({}, "stop")}data: [DONE]\n\n`,
    );

/** Answers with `beginning`, and then the connection is cut. */
const cutOff =
  (beginning: string): Answer =>
  (response) => {
    response.write(chunk({ content: beginning }));
    void slowPeer(200).then(() => response.destroy());
  };

const Event = z.looseObject({
  type: z.string(),
  orch_step_id: z.string().optional(),
  text: z.string().optional(),
  first: z.boolean().optional(),
});

/** Executes a run with these answers of the model. @returns the text as a viewer joins it, the run's output, and the types of its events */
async function joined(
  ...given: Answer[]
): Promise<{ viewed: string | undefined; out: unknown; types: string[] }> {
  answers.splice(0, answers.length, ...given);
  const run = await api.start("writes");
  expect(await untilEnd(api, run)).toBe("completed");
  const stream = await (await api.call("GET", runPath(run, "stream"))).text();
  const events = [...stream.matchAll(/^data: (.*)$/gm)].map(([, data = ""]) => Event.parse(JSON.parse(data)));
  const result = await bodyOf(await api.call("GET", runPath(run, "result")));
  const state = z.object({ final_state: z.record(z.string(), z.unknown()) }).parse(result);
  return {
    viewed: addDeltas(events).get("write"),
    out: state.final_state.out,
    types: events.map(({ type }) => type),
  };
}

test.each([
  ["a piece over 32 KiB", ["a".repeat(32_768)]],
  ["a piece that is over 32 KiB as JSON", ['"'.repeat(17_000)]],
  ["many pieces within 50 ms", Array.from({ length: 50 }, (_, i) => `${i} `.repeat(400))],
])("the joined deltas are the answer: %s", async (_, pieces) => {
  const { viewed, out } = await joined(text(...pieces));
  expect(viewed).toBe(pieces.join(""));
  expect(out).toBe(viewed);
});

test("the joined deltas of a step that was tried again are its answer", async () => {
  const { viewed, out, types } = await joined(cutOff("Here is "), text("Here is ", "the plan"));
  expect(types).toContain("step_retry");
  expect([viewed, out]).toEqual(["Here is the plan", "Here is the plan"]);
});
