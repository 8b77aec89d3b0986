/** An import from the predecessor, up to the ends of its runs. */
import { createServer } from "node:http";
import { LLMock } from "@copilotkit/aimock";
import { expect } from "vitest";
import { z } from "zod";
import { bodyOf, runPath } from "../edge/app.ts";
import {
  approval,
  exportedAgent,
  exportedBundle,
  exportedOrchestration,
  exportedStep,
  exportedTool,
  market,
  researchAndReview,
} from "../edge/definitions/predecessor-bundle.ts";
import { apiTest, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

const Synced = z.looseObject({
  total_synced: z.number(),
  errors: z.array(z.looseObject({ id: z.string().nullable(), path: z.string(), message: z.string() })),
});
const Steps = z.looseObject({
  steps: z.array(z.looseObject({ step_id: z.string() })),
  final_state: z.record(z.string(), z.unknown()),
});
const Route = z.object({ properties: z.object({ route: z.object({ enum: z.array(z.string()) }) }) });

/**
 * A model that calls the first offered tool once, and then answers. Of an evaluator's routes it chooses the one back to more work at the
 * first visit of the step, and another one afterwards.
 */
async function startModel(): Promise<LLMock> {
  const mock = new LLMock({ port: 0 });
  mock.on({ predicate: () => true }, ({ messages, tools = [] }) => {
    const route = tools.find((tool) => tool.function.name === "choose_route");
    if (route !== undefined) {
      const labels = Route.parse(route.function.parameters).properties.route.enum;
      const more = labels.find((label) => /need|unclear|again/.test(label));
      const goesOn = labels.find((label) => label !== more) ?? "";
      const isFirst = !JSON.stringify(messages).includes("Present value of");
      const args = { route: (isFirst ? more : null) ?? goesOn, reasoning: "scripted" };
      return { toolCalls: [{ name: "choose_route", arguments: JSON.stringify(args) }] };
    }
    const [first] = tools;
    return first !== undefined && messages.at(-1)?.role === "user"
      ? { toolCalls: [{ name: first.function.name, arguments: '{"text":"x"}' }] }
      : { content: "A scripted answer." };
  });
  await mock.start();
  return mock;
}

/** The tools of the predecessor, each of which answers with its name. */
async function startTools() {
  const called: string[] = [];
  const server = createServer((request, response) => {
    called.push(String(request.url).slice(1));
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ answered: request.url }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { url: `http://127.0.0.1:${address.port}`, called, server };
}

async function sync(api: FlowApi, body: object): Promise<z.infer<typeof Synced>> {
  return Synced.parse(await bodyOf(await api.call("POST", "/scale/sync", { body })));
}

/** Executes a run to its end, with `answer` to each of its questions. @returns the ids of its steps in order, and its final state */
async function runToEnd(api: FlowApi, id: string, answer: unknown) {
  const run = await api.start(id, { message: "tea" });
  while ((await api.until(run, ["paused", "completed", "failed"])) === "paused") {
    await api.call("POST", runPath(run, "resume"), { body: { response: answer } });
    await api.until(run, ["queued", "running", "completed", "failed"]);
  }
  expect(await untilEnd(api, run)).toBe("completed");
  const { steps, final_state } = Steps.parse(await bodyOf(await api.call("GET", runPath(run, "result"))));
  return { steps: steps.map(({ step_id }) => step_id), state: final_state };
}

// Fails when runs of an accepted bundle do not end, or when its author cannot mend what the report of the import names.
apiTest(
  "orchestrations of the predecessor run to their ends, with Python replaced as the report says",
  async ({ api }) => {
    const [model, tools] = await Promise.all([startModel(), startTools()]);
    try {
      const claude = "claude-sonnet-4-6";
      const sums = (transform_code: string) =>
        exportedOrchestration("orch_sums", [
          exportedStep("sum", "transform", { transform_code, output_key: "sum", next_step_id: "show" }),
          exportedStep("show", "print", { print_content: "{state.sum}", output_key: "shown" }),
        ]);
      const orchestrations = [researchAndReview(claude), market(claude), approval(claude)];
      const agents = [
        exportedAgent("agent_reader", { tools: ["scrape_url", "hub__search"], repos: ["repo_1"] }),
        exportedAgent("agent_author", { tools: ["vault_write"] }),
      ];
      const python = "result = [len(word) for word in state['user_input'].split()]";
      const first = await sync(
        api,
        exportedBundle({ agents, orchestrations: [...orchestrations, sums(python)] }),
      );
      expect(first).toMatchObject({
        total_synced: 5,
        errors: [{ id: "orch_sums", path: "orchestrations[3].steps[0].transform_code" }],
      });
      expect(first.errors[0]?.message).toContain("write JavaScript that reads state and sets result");
      const names = ["scrape_url", "hub__search", "vault_write"];
      const javascript = 'result = state.user_input.split(" ").map((word) => word.length)';
      const second = await sync(api, {
        custom_tools: names.map((name) => exportedTool(name, `${tools.url}/${name}`)),
        orchestrations: [sums(javascript)],
      });
      expect(second).toMatchObject({ total_synced: 4, errors: [] });

      await api.startWorker("w1", {
        EGRESS_ALLOW: "127.0.0.1",
        ANTHROPIC_API_KEY: "sk-ant-test",
        ANTHROPIC_BASE_URL: `${model.url}/v1`,
        DEFAULT_MODEL: `anthropic/${claude}`,
      });
      const runs = await Promise.all([
        runToEnd(api, "orch_imported", { note: "More", depth: "short" }),
        runToEnd(api, "orch_market_like", null),
        runToEnd(api, "orch_approval_like", { decision: "approve" }),
        runToEnd(api, "orch_sums", null),
      ]);
      const [research, found, approved, summed] = runs;
      const twoBranches = expect.arrayContaining(["draft", "examples"]);
      expect(research.steps.slice(0, 5)).toEqual(["research", "judge", "ask", "research", "judge"]);
      expect(research.steps.slice(5, 7)).toEqual(twoBranches);
      expect(research.steps.slice(7)).toEqual(["write", "together", "review", "revise", "review", "sum_up"]);
      expect(research.state).toMatchObject({ judged: "enough", human_response: { note: "More" } });
      expect(found.steps.filter((step) => ["gather", "verdict", "report"].includes(step))).toEqual([
        "gather",
        "verdict",
        "gather",
        "verdict",
        "report",
      ]);
      expect(approved.steps).toEqual(["plan", "sort", "ask", "decide", "plan", "sort", "build", "told"]);
      expect(summed.state).toMatchObject({ sum: [3], shown: "[3]" });
      expect(new Set(tools.called)).toEqual(new Set(["scrape_url", "vault_write"]));
    } finally {
      await model.stop();
      tools.server.closeAllConnections();
      tools.server.close();
    }
  },
);
