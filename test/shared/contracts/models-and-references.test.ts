import { describe, expect, test } from "vitest";
import {
  missingReferences,
  parseAgent,
  parseNewAgent,
  parseNewOrchestration,
  parseOrchestration,
  referencesOf,
  unfitAgents,
} from "../../../shared/contracts/definition/index.ts";
import type { Known } from "../../../shared/contracts/definition/index.ts";
import { modelOf } from "../../../shared/contracts/model-name.ts";
import { cpuMs } from "../../services/cpu-time.ts";

type Fields = { [key: string]: unknown };

const document = (step: Fields, fields: Fields = {}): Fields => ({
  id: "o",
  name: "O",
  entry_step_id: "a",
  steps: [{ id: "a", ...step }],
  ...fields,
});
const errorsOf = (json: unknown) => {
  const parsed = parseNewOrchestration(json);
  return parsed.ok ? [] : parsed.errors;
};
const agentErrors = (fields: Fields) => {
  const parsed = parseNewAgent({ id: "a", name: "A", ...fields });
  return parsed.ok ? [] : parsed.errors;
};

describe("the model of a step", () => {
  // Fails when a misspelt model is saved, and each run fails with `unknown_model`.
  test.each([
    ["opnai/gpt-4.1-mini", 'did you mean "openai/gpt-4.1-mini"?'],
    ["antropic/claude-haiku-4-5", 'did you mean "anthropic/claude-haiku-4-5"?'],
    ["OpenAI/gpt-4.1", 'did you mean "openai/gpt-4.1"?'],
    ["gtp-4.1-mini", 'did you mean "gpt-4.1-mini"?'],
    ["cluade-haiku-4-5", 'did you mean "claude-haiku-4-5"?'],
    ["openai/", "write provider/model"],
    ["mistral", "write ollama/mistral where Ollama has it"],
    ["grok-3", "or openai-compatible/grok-3 for a server with OpenAI's API"],
    ["hf.phi-4", "write ollama/phi-4 where"],
    ["cli.codex.gpt-5", "a program on the predecessor's machine"],
    ["meta/llama-3", "the providers are openai"],
    ["openai/gpt 4.1", "a name has no spaces"],
  ])("%s, which no worker can call, is refused at PUT: %s", (model, text) => {
    for (const step of [
      { type: "llm", model },
      { type: "tool", forced_tool: "t", model },
      { type: "evaluator", route_map: { x: null }, model },
      { type: "agent", agent_id: "a", model },
    ]) {
      expect(errorsOf(document(step))).toEqual([
        { path: "steps[0].model", message: expect.stringContaining(text) },
      ]);
    }
    // Runs of a version that was saved before the rule go on.
    expect(parseOrchestration(document({ type: "llm", model })).ok).toBe(true);
  });

  test.each([
    null,
    "",
    "default",
    "openai/gpt-4.1",
    "gpt-9",
    "claude-x",
    "gemini-3",
    "ollama/llama3:8b",
    "ollama.qwen",
    "oaic.m1",
    "openai-compatible/meta/llama-3.3",
    "demo/writer",
    "gemini/gemini-2.5-pro",
  ])("%s is accepted at PUT: only the worker's settings decide about it", (model) => {
    expect(errorsOf(document({ type: "llm", model }))).toEqual([]);
  });

  // Fails when a limit on money is saved that can have no effect, because the model's calls have no known price.
  test.each([
    ["openai-compatible/m1", false],
    ["openai/gpt-4.1-min", false],
    ["openai/gpt-4.1-mini", true],
    ["openai/gpt-4.1-mini-2025-04-14", true],
    ["ollama/llama3", true],
    ["", true],
  ])("%s under max_total_cost_usd is saved only with a known price: %s", (model, isSaved) => {
    const found = errorsOf(document({ type: "llm", model }, { max_total_cost_usd: 0.01 }));
    expect(found).toEqual(
      isSaved ? [] : [{ path: "steps[0].model", message: expect.stringContaining("has no known price") }],
    );
    expect(errorsOf(document({ type: "llm", model }))).toEqual([]);
  });
});

describe("the model of an agent", () => {
  test.each<[Fields, string[]]>([
    [{ model: "gtp-4.1" }, ["model"]],
    [{ model: "gpt-4.1", provider: "opnai" }, ["provider"]],
    [{ provider: "openai" }, ["provider"]],
    [{ model: "m1", provider: "openai-compatible" }, []],
    [{ model: "meta/llama-3", provider: "openai-compatible" }, []],
    [{ model: "openai/gpt-4.1", provider: "" }, []],
    [{ model: "default" }, []],
  ])("%j is refused where no worker can call it", (fields, paths) => {
    expect(agentErrors(fields).map(({ path }) => path)).toEqual(paths);
    expect(parseAgent({ id: "a", name: "A", ...fields }).ok).toBe(true);
  });

  test("keeps a slash of its provider's own name", () => {
    expect(modelOf("meta/llama-3", "openai-compatible")).toBe("openai-compatible/meta/llama-3");
    expect(modelOf("openai/gpt-4.1", "anthropic")).toBe("openai/gpt-4.1");
    expect(modelOf("gpt-4.1", "openai")).toBe("openai/gpt-4.1");
  });
});

describe("a reference", () => {
  test.each([
    [{ next_step_id: "mial" }, "steps[0].next_step_id", 'there is no step "mial": did you mean "mail"?'],
    [
      { print_content: "{state.topc}" },
      "steps[0].print_content",
      '{state.topc} is never set: did you mean "topic"?',
    ],
  ])("%j gets the nearest name", (fields, path, message) => {
    const steps = [
      { id: "a", type: "print", print_content: "x", next_step_id: "mail", ...fields },
      { id: "mail", type: "end" },
    ];
    const found = errorsOf({ ...document({}), steps, state_schema: { topic: {} } });
    expect(found).toContainEqual({ path, message });
  });

  test("to a route of an evaluator gets the nearest label", () => {
    const step = { type: "evaluator", route_map: { approved: null }, default_route: "aproved" };
    expect(errorsOf(document(step))).toEqual([
      { path: "steps[0].default_route", message: '"aproved" is not in route_map: did you mean "approved"?' },
    ]);
  });

  test("to a tool with a name that no tool can have is refused", () => {
    expect(errorsOf(document({ type: "tool", forced_tool: "web search" }))).toEqual([
      { path: "steps[0].forced_tool", message: 'no tool can have the name "web search"' },
    ]);
    expect(agentErrors({ tools: ["ok", "1st"] })).toEqual([
      { path: "tools[1]", message: 'no tool can have the name "1st"' },
    ]);
  });

  // Fails when suggestions for ten thousand wrong targets keep the edge busy.
  test("is compared with the known names in bounded time, however many wrong ones there are", () => {
    const steps = Array.from({ length: 200 }, (_, i) => ({
      id: `${"s".repeat(50)}${i}`,
      type: "evaluator",
      route_map: Object.fromEntries(
        Array.from({ length: 50 }, (_unused, k) => [`r${k}`, `${"x".repeat(50)}${k}`]),
      ),
    }));
    const startedMs = cpuMs();
    errorsOf({ ...document({}), steps });
    expect(cpuMs() - startedMs).toBeLessThan(2_000);
  });
});

describe("a warning", () => {
  const parsed = parseNewOrchestration({
    ...document({}),
    max_total_cost_usd: 1,
    steps: [
      { id: "a", type: "agent", agent_id: "writer", allowed_tools: ["serch", "mail"], next_step_id: "b" },
      { id: "b", type: "agent", agent_id: "gone", next_step_id: "c" },
      { id: "c", type: "tool", forced_tool: "web_serch", next_step_id: "d" },
      { id: "d", type: "orchestration", orchestration_id: "summry", next_step_id: "e" },
      { id: "e", type: "orchestration", orchestration_id: "o" },
    ],
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  const { definition } = parsed;
  const known: Known = {
    agents: new Map([["writer", { tools: ["search", "mail"], model: "m1", provider: "openai-compatible" }]]),
    tools: new Set(),
    orchestrations: new Set(),
    suggest: { agents: [], tools: ["web_search"], orchestrations: ["summary"] },
  };

  test("names what is not stored yet, and the nearest stored name", () => {
    expect(missingReferences(referencesOf(definition), known)).toEqual([
      { path: "steps[1].agent_id", message: 'there is no agent "gone" yet' },
      {
        path: "steps[2].forced_tool",
        message: 'there is no tool "web_serch" yet: did you mean "web_search"?',
      },
      {
        path: "steps[3].orchestration_id",
        message: 'there is no orchestration "summry" yet: did you mean "summary"?',
      },
    ]);
  });

  test("names what takes the place of the predecessor's own tools", () => {
    const reference = (id: string) => ({ path: "tools[0]", kind: "tools" as const, id });
    const messages = missingReferences(["vault_read", "spawn_subtask", "parse_pdf"].map(reference), known);
    expect(messages.map(({ message }) => message)).toEqual([
      'there is no tool "vault_read" yet: artifact_read is the built-in one that does the like',
      'there is no tool "spawn_subtask" yet: delegate_agent_ids names agents to which an agent gives tasks',
      'there is no tool "parse_pdf" yet',
    ]);
  });

  test("names an agent that cannot do what its step asks as it is stored now", () => {
    expect(unfitAgents(definition, known)).toEqual([
      {
        path: "steps[0].allowed_tools[0]",
        message: 'the agent "writer" has no tool "serch": did you mean "search"?',
      },
      { path: "steps[0].agent_id", message: expect.stringContaining("has no known price") },
    ]);
  });
});
