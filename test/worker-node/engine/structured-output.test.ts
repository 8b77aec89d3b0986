import { afterAll, describe, expect, test } from "vitest";
import { createSandbox } from "../../../worker-node/engine/sandbox.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { fakeContext, run, step } from "./context.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { FakeAnswer } from "./context.ts";

const sandbox = createSandbox();
afterAll(() => sandbox.close());
const { transform } = sandbox.of({
  tenant: TenantId.parse("acme"),
  signal: new AbortController().signal,
});

const person = {
  type: "object",
  properties: { name: { type: "string", pattern: "^[A-Z]" }, age: { type: "integer" } },
  required: ["name"],
};
const answer = (args: Json): FakeAnswer => ({ calls: [{ name: "final_answer", args }] });

function llm(
  output_schema: JsonObject,
  answers: FakeAnswer[],
  options: { turns?: Json[]; crashAtTurn?: number } = {},
) {
  const fake = fakeContext({ answers, transform, ...options });
  const fields = { type: "llm", prompt_template: "Who?", output_key: "who", output_schema };
  return { ...fake, result: run(step(fields), fake.context) };
}

describe("an answer of a schema", () => {
  test.each<[string, FakeAnswer]>([
    ["by a call of the tool", answer({ name: "Ada" })],
    ["by a call whose arguments are JSON text", answer('{"name":"Ada"}')],
    ["as JSON in its text", 'Here it is: {"name": "Ada"}'],
    ["as the call that a model writes as text", '{"name": "final_answer", "arguments": {"name": "Ada"}}'],
  ])("is taken %s", async (_, given) => {
    const { result } = llm(person, [given]);
    expect(await result).toMatchObject({ set: { who: { name: "Ada" } }, response: { name: "Ada" } });
  });

  // anthropics/claude-agent-sdk-python #502, #571. Fails when a model that repeats a form of plain meaning fails the step.
  test.each<[JsonObject, Json, Json]>([
    [person, { name: "Ada", age: "36" }, { name: "Ada", age: 36 }],
    [person, { output: { name: "Ada", age: "36" } }, { name: "Ada", age: 36 }],
    [person, { answer: '{"name": "Ada"}' }, { name: "Ada" }],
    [{ type: "array", items: { type: "integer" } }, { value: "[1, 2]" }, [1, 2]],
  ])(
    "of %j that is written as %j again, after its correction, is read as what it means",
    async (schema, args, value) => {
      const { result, modelCalls } = llm(schema, [answer(args), answer(args)]);
      expect(await result).toMatchObject({ response: value });
      expect(modelCalls).toHaveLength(2);
    },
  );

  test.each<[string, FakeAnswer, string]>([
    ["breaks a pattern", answer({ name: "ada" }), 'name must match the pattern "^[A-Z]"'],
    ["has no JSON", "I am not sure.", "the text holds no JSON"],
    [
      "is given twice",
      {
        calls: [
          { name: "final_answer", args: { name: "Ada" } },
          { name: "final_answer", args: { name: "Bob" } },
        ],
      },
      "final_answer was called 2 times",
    ],
  ])("that %s is corrected once, with the fault", async (_, wrong, fault) => {
    const { result, modelCalls, committedTurns } = llm(person, [wrong, answer({ name: "Ada" })]);
    expect(await result).toMatchObject({ response: { name: "Ada" } });
    expect(modelCalls[1]?.messages.at(-1)?.content).toContain(fault);
    expect(modelCalls.every(({ toolChoice }) => toolChoice === "required")).toBe(true);
    expect(committedTurns).toHaveLength(1);
  });

  test("that does not fit after the correction fails the step, also when a crash came between", async () => {
    const wrong = answer({ age: 1 });
    const whole = llm(person, [wrong, wrong]);
    await expect(whole.result).rejects.toMatchObject({
      code: "output_invalid",
      message: "the answer does not fit output_schema: name is missing",
    });
    const turns = whole.committedTurns.map(({ data }) => data);
    const after = llm(person, [wrong], { turns });
    await expect(after.result).rejects.toMatchObject({ code: "output_invalid" });
    expect(after.modelCalls.map(({ effectKey }) => effectKey)).toEqual(["run_1:s:1:model.2"]);
  });

  test.each<[string, JsonObject, Json, Json]>([
    ["a list", { type: "array", items: { type: "integer" } }, { value: [1, 2] }, [1, 2]],
    ["a choice", { enum: ["yes", "no"] }, { value: "yes" }, "yes"],
    [
      "one of two forms",
      { anyOf: [{ type: "string" }, { $ref: "#/$defs/n" }], $defs: { n: { type: "integer" } } },
      { value: 7 },
      7,
    ],
  ])("that is %s comes in an argument of its own", async (_, schema, args, value) => {
    const { result } = llm(schema, [answer(args)]);
    expect(await result).toMatchObject({ response: value });
  });

  // Fails when a tenant's pattern is read outside of the sandbox, where nothing ends it.
  test("whose pattern takes the sandbox too long fails the step", async () => {
    const ended = async (): Promise<Json> => {
      throw new TerminalError("transform_timeout", "transform_code took longer than its time");
    };
    const fake = fakeContext({ answers: [answer({ name: "Ada" })], transform: ended });
    const result = run(step({ type: "llm", prompt_template: "Who?", output_schema: person }), fake.context);
    await expect(result).rejects.toMatchObject({
      code: "output_invalid",
      message: expect.stringContaining("cannot be read in time"),
    });
  });

  test("is not taken from an agent beside other calls: these are made first", async () => {
    const fake = fakeContext({
      agents: { a: { id: "a", name: "A", tools: ["search"] } },
      tools: { search: () => "Ada" },
      transform,
      answers: [
        {
          calls: [
            { name: "search", args: {} },
            { name: "final_answer", args: { name: "Bob" } },
          ],
        },
        answer({ name: "Ada" }),
      ],
    });
    const result = await run(
      step({ type: "agent", agent_id: "a", max_turns: 2, output_schema: person }),
      fake.context,
    );
    expect(result.response).toEqual({ name: "Ada" });
    expect(fake.toolCalls).toHaveLength(1);
    expect(fake.modelCalls[1]?.messages.at(-1)?.content).toContain("call final_answer alone");
  });

  test("of an agent may be corrected after its last turn", async () => {
    const fake = fakeContext({
      agents: { a: { id: "a", name: "A" } },
      transform,
      answers: [answer({}), answer({ name: "Ada" })],
    });
    const fields = { type: "agent", agent_id: "a", max_turns: 1, output_schema: person };
    expect((await run(step(fields), fake.context)).response).toEqual({ name: "Ada" });
  });
});
