import { readFile, readdir } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import {
  parseAgent,
  isFork,
  parseOrchestration,
  parseTool,
} from "../../../shared/contracts/definition/index.ts";
import { addResult, initialProgress, initialState } from "../../../shared/journal/fold.ts";
import { startSearchServer } from "../../../local/demo/search-server.ts";
import { next, toCheckpoint } from "../../../worker-node/engine/machine.ts";
import { createSandbox } from "../../../worker-node/engine/sandbox.ts";
import { runStep } from "../../../worker-node/engine/steps/index.ts";
import { createModels } from "../../../worker-node/models/create-models.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import { fakeContext } from "../engine/context.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { refusingOutbox, refusingStore } from "../fakes.ts";

const folder = new URL("../../../local/demo/definitions/", import.meta.url);

async function definitions(kind: string, searchUrl = "http://127.0.0.1:1"): Promise<Map<string, JsonObject>> {
  const read = new Map<string, JsonObject>();
  for (const name of await readdir(new URL(`${kind}/`, folder))) {
    const text = await readFile(new URL(`${kind}/${name}`, folder), "utf8");
    read.set(name.replace(/\.json$/, ""), JSON.parse(text.replaceAll("${DEMO_SEARCH_URL}", searchUrl)));
  }
  return read;
}

test("every demo definition is valid under the name of its file", async () => {
  for (const [name, json] of await definitions("orchestrations")) {
    expect(parseOrchestration(json)).toMatchObject({ ok: true, definition: { id: name } });
  }
  for (const [name, json] of await definitions("agents")) {
    expect(parseAgent(json)).toMatchObject({ ok: true, definition: { id: name } });
  }
  for (const [name, json] of await definitions("tools")) {
    expect(parseTool(json)).toMatchObject({ ok: true, definition: { name } });
  }
});

/** Runs a demo orchestration with the fast demo model, without a journal. `answers`: to its questions, in order. */
async function runDemo(id: string, answers: Json[] = []): Promise<{ steps: string[]; state: JsonObject }> {
  const search = await startSearchServer(0);
  const [orchestrations, agents, tools] = await Promise.all(
    ["orchestrations", "agents", "tools"].map((kind) => definitions(kind, search.url)),
  );
  const parsed = parseOrchestration(orchestrations?.get(id));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  const sandbox = createSandbox();
  const progress = initialProgress(
    initialState(parsed.definition, { message: "the history of tea", state: {} }),
  );
  const steps: string[] = [];
  try {
    for (;;) {
      const now = next(parsed.definition, progress, progress);
      if (now.do === "end") {
        expect(now).toMatchObject({ status: "completed" });
        return { steps, state: progress.state };
      }
      if (isFork(now.step)) throw new Error(`${now.step.id} divides the run`);
      const answeredBy = { key_id: "key_1", person: null };
      const result = await runStep(now.step, {
        ...fakeContext({ message: "the history of tea", state: progress.state }).context,
        models: createModels({ DEFAULT_MODEL: "demo/fast" }, 1_000),
        tools: createTools({
          egress: createEgress("127.0.0.1"),
          timeoutMs: 5_000,
          masterKey: null,
          mail: refusingOutbox,
          store: refusingStore,
        }),
        sandbox: sandbox.of({ tenant: "demo", signal: new AbortController().signal }),
        agent: async (name) => agents?.get(name) ?? null,
        tool: async (name) => tools?.get(name) ?? null,
        reply:
          now.step.type === "human"
            ? { is: "answered", answer: answers.shift() ?? null, by: answeredBy, votes: [], openForMs: 0 }
            : null,
      });
      if ("waitFor" in result || "waitsForCalls" in result) throw new Error(`${now.step.id} waits`);
      const timing = { startedAt: "2026-01-01T00:00:00.000Z", durationMs: 1, tries: 1, earlierUsage: [] };
      addResult(
        progress,
        toCheckpoint(
          { definition: parsed.definition, track: progress, step: now.step, visit: now.visit },
          result,
          timing,
        ).checkpoint,
      );
      steps.push(now.step.id);
    }
  } finally {
    await sandbox.close();
    await search.stop();
  }
}

describe("with the demo model", () => {
  test("the content pipeline searches, goes back once, and completes with labelled texts", async () => {
    const { steps, state } = await runDemo("orch_content_pipeline");
    expect(steps).toEqual(["research", "check", "research", "check", "draft", "review", "summary"]);
    expect(state["notes"]).toContain("demo data");
    expect(state["summary"]).toContain("[demo model]");
  });

  test("the report generator has at least eight steps", async () => {
    const { steps, state } = await runDemo("orch_report_generator");
    expect(steps.length).toBeGreaterThanOrEqual(8);
    expect(state["response"]).toContain("Report on the history of tea");
  });

  test("the approval goes back for another draft as often as its answers ask for one", async () => {
    const answers = [{ decision: "revise", comment: "shorter" }, { decision: "approve" }];
    const { steps, state } = await runDemo("orch_approval", answers);
    expect(steps.join(" ")).toBe("draft approve decide draft approve decide publish");
    expect(state["published"]).toBe(state["draft"]);
  });

  test("the smoke test repeats its message", async () => {
    const { state } = await runDemo("orch_smoke");
    expect(state["summary"]).toContain("the history of tea");
  });

  test("the same request gets the same answer, and an abort ends a call at once", async () => {
    const stop = new AbortController();
    const request = {
      model: "demo/slow",
      messages: [{ role: "user" as const, content: "Write about 1000 words." }],
      tools: [],
      toolChoice: "auto" as const,
      effectKey: "k",
      signal: stop.signal,
      onText: () => stop.abort(new Error("cancelled")),
    };
    const models = createModels({}, 1_000);
    await expect(models.generate(request)).rejects.toThrow("cancelled");
    const fast = { ...request, model: "demo/fast", signal: new AbortController().signal, onText: () => {} };
    expect(await models.generate(fast)).toEqual(await models.generate(fast));
  });
});
