import { expect } from "vitest";
import { z } from "zod";
import { bodyOf, runPath } from "../edge/app.ts";
import { until } from "../services/waiting.ts";
import { newServer } from "../worker-node/tools/mcp/servers.ts";
import { newTaskServer } from "../worker-node/tools/mcp/task-servers.ts";
import { apiTest, count, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

const EGRESS = { EGRESS_ALLOW: "127.0.0.1" };
const KEY = "synapse-edge/idempotency-key";

/** An orchestration of one tool step, and one whose agent has all tools of the server. */
async function define(api: FlowApi, url: string, tool: string): Promise<void> {
  const step = { id: "call", type: "tool", forced_tool: `srv__${tool}`, output_key: "answer" };
  const ask = {
    id: "work",
    type: "agent",
    agent_id: "agent_mcp",
    prompt_template: "Use your tools",
    output_key: "answer",
  };
  await api.define("mcp-servers", "srv", { url });
  await api.define("agents", "agent_mcp", { name: "A", model: "demo/fast", tools: [`srv__${tool}`] });
  await api.define("orchestrations", "orch_tool", { name: "T", entry_step_id: "call", steps: [step] });
  await api.define("orchestrations", "orch_agent", { name: "A", entry_step_id: "work", steps: [ask] });
}

const Asking = z.looseObject({
  waiting: z.looseObject({
    question_id: z.string(),
    prompt: z.string(),
    fields: z.array(z.looseObject({ key: z.string() })),
  }),
});
const asking = async (api: FlowApi, run: string) =>
  Asking.parse(await bodyOf(await api.call("GET", runPath(run, "status")))).waiting;
const resume = (api: FlowApi, run: string, response: object) =>
  api.call("POST", runPath(run, "resume"), { body: { response } });
const resultOf = async (api: FlowApi, run: string) => bodyOf(await api.call("GET", runPath(run, "result")));

// Fails when the question is not stored with the park, when the answer does not reach the server, or when the second worker does
// not send the server's request state back.
apiTest(
  "a question of an MCP server parks the run, and another worker goes on with the answer",
  async ({ api }) => {
    const server = await newServer();
    try {
      await define(api, server.url, "ask");
      const first = await api.startWorker("w1", EGRESS);
      const [byTool, byAgent, declined] = [
        await api.start("orch_tool"),
        await api.start("orch_agent"),
        await api.start("orch_tool"),
      ];
      for (const run of [byTool, byAgent, declined]) await api.until(run, ["paused", "failed"]);
      await first.stop("SIGKILL");
      const question = await asking(api, byTool);
      expect(question.prompt).toBe("srv (ask): Sure?");
      expect(question.fields).toMatchObject([
        { key: "yes", type: "boolean", required: true },
        { key: "mcp_action", options: ["accept", "decline"] },
      ]);
      expect((await resume(api, byTool, { yes: "maybe" })).status).toBe(422);
      expect((await resume(api, byTool, {})).status).toBe(422);
      expect((await resume(api, byTool, { yes: true })).status).toBe(202);
      expect((await resume(api, byAgent, { yes: false })).status).toBe(202);
      expect((await resume(api, declined, { mcp_action: "decline" })).status).toBe(202);
      await api.startWorker("w2", EGRESS);
      for (const run of [byTool, byAgent, declined]) expect(await untilEnd(api, run)).toBe("completed");
      const answered = (response: object) => ({ final_state: { answer: [{ sure: response }, "round-1"] } });
      expect(await resultOf(api, byTool)).toMatchObject(
        answered({ action: "accept", content: { yes: true } }),
      );
      expect(await resultOf(api, declined)).toMatchObject(answered({ action: "decline" }));
      // Each call was sent twice under one key, before and after the answer, and published once.
      const keys = server.seen.map((meta) => z.looseObject({ [KEY]: z.string() }).parse(meta)[KEY]);
      expect(keys.filter((key) => key === `${byTool}:call:1:tool.1`)).toHaveLength(2);
      expect(server.seen).toContainEqual(expect.objectContaining({ "synapse-edge/correlation-id": byTool }));
      expect(keys.filter((key) => key === `${byAgent}:work:1:tool.1.1`)).toHaveLength(2);
      for (const run of [byTool, byAgent]) {
        expect(await count(api, run, "tool_execution")).toBe(1);
        expect(await count(api, run, "human_input_required")).toBe(1);
        expect(await count(api, run, "human_response")).toBe(1);
      }
    } finally {
      await server.close();
    }
  },
);

// Fails when the task is not in the journal before it is waited for, or when its server does not learn of the run's end.
apiTest(
  "a task of an MCP server is polled by any worker, its call is made once, and it is cancelled with its run",
  async ({ api }) => {
    const server = await newTaskServer();
    try {
      // With this poll interval the run parks between two polls.
      server.poll(6_000);
      await define(api, server.url, "report");
      const first = await api.startWorker("w1", EGRESS);
      const run = await api.start("orch_tool");
      await api.until(run, ["paused", "failed"]);
      await first.stop("SIGKILL");
      const polled = (): number => server.methods().filter((method) => method === "tasks/get").length;
      expect(polled()).toBe(0);
      await api.startWorker("w2", EGRESS);
      await until("the task is polled", () => polled() > 0);
      const result = { content: [{ type: "text", text: "the report" }] };
      Object.assign(server.state, { status: "completed", result });
      expect(await untilEnd(api, run)).toBe("completed");
      expect(await resultOf(api, run)).toMatchObject({ final_state: { answer: "the report" } });
      expect(server.methods().filter((method) => method === "tools/call")).toHaveLength(1);
      expect(await api.stores.sql`select from mcp_tasks`).toHaveLength(0);

      Object.assign(server.state, { status: "working" });
      const cancelled = await api.start("orch_tool");
      await api.until(cancelled, ["paused", "failed"]);
      expect((await api.call("POST", runPath(cancelled, "cancel"))).ok).toBe(true);
      expect(await untilEnd(api, cancelled)).toBe("cancelled");
      await api.stores.sql`update mcp_tasks set try_at = now()`;
      await until("the task is cancelled", () => server.methods().includes("tasks/cancel"));
      await until("it is forgotten", async () => (await api.stores.sql`select from mcp_tasks`).length === 0);
    } finally {
      await server.close();
    }
  },
);
