import { createHmac } from "node:crypto";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { until } from "../services/waiting.ts";
import { WebhookReceiver } from "../worker-node/webhooks/webhook-receiver.ts";
import { chunk, DONE, oc, ProviderServer, text } from "../worker-node/models/provider-server.ts";
import type { ProviderRequest } from "../worker-node/models/provider-server.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

/** Agents that give tasks to orchestrators, whose runs belong to the run of the agent: docs/orchestrations.md. */
let api: FlowApi;
const server = new ProviderServer();

/** The model of all agents: it delegates the task to the agent that the prompt names, and answers with that delegate's answer. */
function answer({ body: { messages } }: ProviderRequest): string {
  const last = messages.at(-1);
  if (last?.role === "tool") return text(`${String(messages[0]?.["content"])}: ${String(last["content"])}`);
  const args = JSON.stringify({ agent_id: messages[0]?.["content"], task: "owls" });
  const call = {
    index: 0,
    id: "k1",
    type: "function",
    function: { name: "delegate_to_agent", arguments: args },
  };
  return chunk({ tool_calls: [call] }) + chunk({}, "tool_calls") + DONE;
}
const agent = (id: string, delegate: string) =>
  api.define("agents", id, { name: id, system_prompt: delegate, model: oc, delegate_agent_ids: [delegate] });
const orchestrator = (id: string, orchestration_id: string) =>
  api.define("agents", id, { name: id, type: "orchestrator", orchestration_id });
const define = (id: string, step: JsonObject) =>
  api.define("orchestrations", id, {
    name: id,
    entry_step_id: "s",
    steps: [{ id: "s", name: "s", ...step }],
  });

beforeAll(async () => {
  await server.start();
  server.reset((response, request) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(answer(request));
  });
  api = await startApi();
  await define("asks", { type: "human", human_prompt: "Which?", output_key: "out" });
  await orchestrator("person", "asks");
  await agent("editor", "person");
  await agent("lead", "editor");
  await define("team", { type: "agent", agent_id: "lead", output_key: "out" });
  await define("endless", { type: "agent", agent_id: "again", output_key: "out" });
  await orchestrator("itself", "endless");
  await agent("again", "itself");
  await api.startWorker("a", { EGRESS_ALLOW: "127.0.0.1", OPENAI_COMPATIBLE_BASE_URL: `${server.url}/v1` });
});
afterAll(async () => {
  await api.stop();
  server.stop();
});

const childOf = async (run: string): Promise<string | undefined> => {
  const { children } = await bodyOf(await api.call("GET", runPath(run, "status")));
  const child = Object(Object(children)[0]).run_id;
  return child === undefined ? undefined : String(child);
};

// Fails when the run keeps its slot while the innermost delegate waits, when its question does not reach the webhook of the run at the top, or
// its answer not the agent there.
test("a delegate of a delegate starts a run that asks a person, and the answer reaches the agent at the top", async () => {
  const receiver = await WebhookReceiver.listen();
  onTestFinished(() => receiver.close());
  const secret = "of the top";
  const run = await api.start("team", { webhook_url: receiver.url(), webhook_secret: secret });
  await until("the orchestrator's run exists", async () => (await childOf(run)) !== undefined);
  const child = (await childOf(run)) ?? "";
  await api.until(child, ["paused"]);
  await api.until(run, ["paused"]);
  const [{ body, headers } = { body: "", headers: {} }] = await receiver.waitForRequests(1);
  const asked = z.object({
    run_id: z.string(),
    root_run_id: z.string(),
    waiting: z.object({ question_id: z.string() }),
  });
  const { run_id, root_run_id, waiting } = asked.parse(JSON.parse(body));
  expect([run_id, root_run_id]).toEqual([child, run]);
  expect(headers["x-synapse-signature"]).toBe(
    `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
  );
  const answered = { response: { text: "snowy" }, question_id: waiting.question_id };
  await api.call("POST", runPath(run_id, "resume"), { body: answered });
  expect(await untilEnd(api, run)).toBe("completed");
  const types = (await receiver.waitForRequests(2)).map((sent) => Object(JSON.parse(sent.body)).type);
  expect(types).toEqual(["run.waiting", "run.completed"]);
  const { output } = await bodyOf(await api.call("GET", runPath(run, "result")));
  expect(String(output)).toMatch(/^editor: person: .*snowy/s);
});

// Fails when agents whose orchestrations run themselves start runs for ever.
test("an orchestrator that runs itself gets the reason why no ninth level is started, and all of its runs complete", async () => {
  const run = await api.start("endless");
  expect(await untilEnd(api, run)).toBe("completed");
  const { output } = await bodyOf(await api.call("GET", runPath(run, "result")));
  expect(String(output)).toContain("no run was started");
  expect(String(output).match(/itself: /g)).toHaveLength(9);
});

test("the cancel of the agent's run cancels the run that it waits for", async () => {
  const run = await api.start("team");
  await until("the orchestrator's run exists", async () => (await childOf(run)) !== undefined);
  const child = (await childOf(run)) ?? "";
  await api.until(child, ["paused"]);
  await api.call("POST", runPath(run, "cancel"));
  await api.until(child, ["cancelled"]);
  await api.until(run, ["cancelled"]);
});
