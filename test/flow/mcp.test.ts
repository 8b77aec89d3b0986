import { expect } from "vitest";
import { z } from "zod";
import { bodyOf } from "../edge/app.ts";
import { until } from "../services/waiting.ts";
import { newServer } from "../worker-node/tools/mcp/servers.ts";
import { apiTest } from "./api.ts";

const Final = z.looseObject({ final_state: z.record(z.string(), z.unknown()) });

const orchestration = {
  name: "Sums",
  entry_step_id: "sum",
  steps: [
    {
      id: "sum",
      type: "tool",
      forced_tool: "calc__add",
      input_keys: ["a", "b"],
      output_key: "sum",
      next_step_id: "ask",
    },
    {
      id: "ask",
      type: "agent",
      agent_id: "agent_calc",
      prompt_template: "Use your tools",
      // The server's other tools ask a person.
      allowed_tools: ["calc__add", "calc__fail"],
      output_key: "text",
    },
  ],
};
const agentOnly = { ...orchestration, entry_step_id: "ask", steps: orchestration.steps.slice(1) };

// Fails when a saved server is not listed by a worker, when its tools reach no step, or when a dead server stops an agent.
apiTest(
  "an MCP server's tools are listed, called by steps and agents, and a dead server costs its calls alone",
  async ({ api }) => {
    const server = await newServer();
    try {
      await api.define("mcp-servers", "calc", { url: server.url });
      await api.define("agents", "agent_calc", { name: "Calc", model: "demo/fast", tools: ["calc__*"] });
      await api.define("orchestrations", "orch_sums", orchestration);
      await api.define("orchestrations", "orch_agent", agentOnly);
      await api.startWorker("w1", { EGRESS_ALLOW: "127.0.0.1" });
      const listing = async () =>
        (await bodyOf(await api.call("GET", "/api/v2/mcp-servers/calc")))["listing"];
      await until(
        "the server is listed",
        async () => z.looseObject({ state: z.string() }).parse(await listing()).state === "listed",
      );
      expect(await listing()).toMatchObject({
        error: null,
        tools: expect.arrayContaining([{ name: "calc__add", description: "Adds two numbers" }]),
      });

      const run = await api.start("orch_sums", { state: { a: 2, b: 3 } });
      await api.until(run, ["completed", "failed"]);
      const result = await bodyOf(await api.call("GET", `/api/v2/orchestrations/runs/${run}/result`));
      expect(result).toMatchObject({ status: "completed", error: null });
      expect(Final.parse(result).final_state).toMatchObject({ sum: { sum: 5 }, text: expect.any(String) });
      // The effect key of each call: the step's own, and one for each of the agent's calls.
      const keys = server.seen.map(
        (meta) =>
          z.looseObject({ "synapse-edge/idempotency-key": z.string() }).parse(meta)[
            "synapse-edge/idempotency-key"
          ],
      );
      expect(keys[0]).toBe(`${run}:sum:1:tool.1`);

      await server.close();
      const withoutServer = await api.start("orch_agent");
      expect(await api.until(withoutServer, ["completed", "failed"])).toBe("completed");
      const text = await (
        await api.call("GET", `/api/v2/orchestrations/runs/${withoutServer}/result`)
      ).text();
      expect(text).toContain("cannot be reached");
    } finally {
      await server.close();
    }
  },
);
