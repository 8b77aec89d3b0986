import { describe, expect, test } from "vitest";
import { EndRecord, Usage } from "../../../shared/contracts/journal-entry.ts";
import { usageOfTurn } from "../../../worker-node/engine/conversation-turns.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { ExecutionHarness, steps } from "../execution/execution-harness.ts";
import { aProvider, ag1, evaluator, llm1, runStep } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicEnd,
  anthropicStart,
  anthropicText,
  call,
  chunk,
  counts,
  cut,
  event,
  go,
  googleChunk,
  half,
  oa,
  oc,
  text,
} from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";
import { slowPeer } from "../../services/waiting.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";

const { server, run } = aProvider();

describe("counts of tokens", () => {
  test.each<[string, string, string]>([
    [
      "in camel case",
      oa,
      chunk({ content: "a" }, "stop", { usage: { promptTokens: 10, completionTokens: 5 } }) + DONE,
    ],
    [
      "that are only a total, of Google",
      go,
      googleChunk([{ text: "a" }], "STOP", { usageMetadata: { promptTokenCount: 10, totalTokenCount: 15 } }),
    ],
  ])("%s are charged", async (_, model, stream) => {
    expect(await run(model, stream)).toMatchObject({ response: "a", tokens: 15 });
  });

  // Fails when a count of 0 for an answer with a text is charged: the answer would cost nothing.
  test.each<[string, string]>([
    ["at the beginning", counts(10, 0) + chunk({ content: "four" }) + chunk({}, "stop") + DONE],
    ["at the end", text("four", counts(10, 0))],
  ])("of 0 output tokens, %s, for an answer with a text are replaced by an estimate", async (_, stream) => {
    expect(await run(oc, stream)).toMatchObject({ response: "four", tokens: 11, isEstimated: true });
  });

  // Fails when the counts reach the store as the provider reported them.
  test.each([
    [12, 0.5, 13],
    [12.6, 7.2, 20],
    [-1, 2, 2],
    [3_000_000_000, 2, 2_147_483_649],
    [1e300, 1e300, 4_294_967_294],
  ])("%d and %d are stored as %d, and lose no answer", async (prompt, completion, tokens) => {
    const streams: [string, string][] = [
      [oc, text("good", counts(prompt, completion))],
      [oa, text("good", counts(prompt, completion))],
      [
        an,
        anthropicStart({ input_tokens: prompt, output_tokens: 1 }) +
          anthropicText("good") +
          anthropicEnd("end_turn", { output_tokens: completion }),
      ],
      [
        go,
        googleChunk([{ text: "good" }], "STOP", {
          usageMetadata: { promptTokenCount: prompt, candidatesTokenCount: completion },
        }),
      ],
    ];
    for (const [model, stream] of streams) {
      expect(await run(model, stream)).toMatchObject({ status: "completed", response: "good", tokens });
    }
  });

  test.each([
    ["12", "7"],
    [null, null],
    ["many", {}],
    [true, []],
  ])(
    "of %j and %j lose no answer, and a count that they do not contain is estimated",
    async (prompt, completion) => {
      const usage = chunk({}, null, { usage: { prompt_tokens: prompt, completion_tokens: completion } });
      const result = await run(oc, chunk({ content: "good" }) + chunk({}, "stop") + usage + DONE);
      const isReported = prompt === "12";
      const tokens = isReported ? 19 : expect.toSatisfy((count: number) => count > 10);
      expect(result).toMatchObject({ response: "good", isEstimated: !isReported, tokens });
    },
  );

  test("that are sums so far are not added up", async () => {
    const usage = (completion_tokens: number) => ({ usage: { prompt_tokens: 10, completion_tokens } });
    const stream =
      chunk({ content: "a" }, null, usage(1)) +
      chunk({ content: "b" }, null, usage(2)) +
      chunk({}, "stop", usage(3)) +
      DONE;
    expect(await run(oc, stream)).toMatchObject({ response: "ab", tokens: 13 });
  });

  // Fails when the last event with counts replaces all earlier ones.
  test.each([oc, oa])(
    "%s: that come in several events, or end with what is no count, are kept",
    async (model) => {
      const usage = (reported: object) => chunk({}, null, { usage: reported });
      for (const stream of [
        usage({ prompt_tokens: 10, completion_tokens: null }) + usage({ completion_tokens: 5 }),
        usage({ prompt_tokens: 10, completion_tokens: 5 }) +
          usage({ prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }),
        usage({ prompt_tokens: 10, completion_tokens: 5 }) +
          usage({ prompt_tokens: -1, completion_tokens: "N/A", total_tokens: -1 }),
        usage({ total_tokens: 15 }),
      ]) {
        const answer = chunk({ content: "all" }) + stream + chunk({}, "stop") + DONE;
        expect(await run(model, answer)).toMatchObject({ response: "all", tokens: 15 });
      }
    },
  );

  // Fails when thoughts that a server counts beside its completion tokens cost nothing.
  test("include the thoughts that only the total has", async () => {
    const usage = {
      prompt_tokens: 32,
      completion_tokens: 9,
      total_tokens: 135,
      completion_tokens_details: { reasoning_tokens: 94 },
    };
    const stream = chunk({ content: "all" }) + chunk({}, "stop", { usage }) + DONE;
    expect(await run(oa, stream)).toMatchObject({ tokens: 135, costMicroUsd: 32 * 2 + 103 * 8 });
  });

  test("of Anthropic include what was read from and written to its cache, at their prices", async () => {
    const usage = {
      input_tokens: 10,
      cache_read_input_tokens: 1_000,
      cache_creation_input_tokens: 90,
      output_tokens: 1,
    };
    const stream =
      anthropicStart(usage) + anthropicText("all") + anthropicEnd("end_turn", { output_tokens: 20 });
    expect(await run(an, stream)).toMatchObject({ tokens: 1_120, costMicroUsd: 100 + 100 + 100 });
  });

  // maximhq/bifrost PR 6598: the first event has the whole prompt, and a later one divides it.
  test("of Anthropic's form are not doubled when a later event divides the prompt", async () => {
    const divided = { input_tokens: 0, cache_read_input_tokens: 1_000, output_tokens: 20 };
    const stream =
      anthropicStart({ input_tokens: 1_000, output_tokens: 1 }) +
      anthropicText("all") +
      anthropicEnd("end_turn", divided);
    expect(await run(an, stream)).toMatchObject({ tokens: 1_020, costMicroUsd: 100 + 100 });
  });

  test("of Google include its thoughts", async () => {
    const usageMetadata = {
      promptTokenCount: 10,
      candidatesTokenCount: 5,
      thoughtsTokenCount: 7,
      cachedContentTokenCount: 4,
    };
    expect(await run(go, googleChunk([{ text: "all" }], "STOP", { usageMetadata }))).toMatchObject({
      tokens: 22,
    });
  });

  // Fails when a turn is checked more strictly when it is read than when it is written.
  test("of a turn can be read back, whatever was reported", async () => {
    const result = await runStep(server, ag1, [call('{"q":"a"}', counts(-1, 7)), text("fine", counts(0, 3))]);
    expect(result).toMatchObject({
      status: "completed",
      response: "fine",
      toolCalls: [{ q: "a" }],
      tokens: 10,
    });
    const usage = {
      call: "c",
      provider: "p",
      model: "m",
      input_tokens: -1,
      output_tokens: 0.5,
      cost_micro_usd: -2,
    };
    expect(usageOfTurn({ messages: [], usage: [usage], effects: [] })).toMatchObject([
      { input_tokens: 0, output_tokens: 1 },
    ]);
    expect(Usage.parse({ ...usage, input_tokens: null }).cost_micro_usd).toBe(0);
  });
});

// Fails when a count that the provider does not report is 0, or is charged without the mark of an estimate.
describe("what a provider does not report is estimated, and marked", () => {
  test("when an answer comes without counts: in its charge and in the step's result", async () => {
    const answer = "word ".repeat(2_000);
    const result = await run("openai/gpt-4.1-mini", text(answer));
    expect(result).toMatchObject({ response: answer, isEstimated: true, isResultEstimated: true });
    expect(result.tokens).toBeGreaterThan(2_500);
    expect(result.costMicroUsd).toBeGreaterThan(2_500 * 1.6);
    expect(await run("openai/gpt-4.1-mini", text("fine", counts(9, 1)))).toMatchObject({
      isEstimated: false,
      isResultEstimated: false,
    });
  });

  // Fails when a text is estimated by its characters: one in Chinese has three to four times as many tokens as that.
  test("by the bytes of a text and the number of images, so no script and no image is charged as almost nothing", async () => {
    const models = server.models();
    const inputOf = async (content: string, images: string[]): Promise<number> => {
      server.reset(chunk({ content: "fine" }, "stop") + DONE);
      const request = { tools: [], toolChoice: "auto" as const, effectKey: "k", onText: () => {} };
      const messages = [{ role: "user" as const, content, images }];
      const { signal } = new AbortController();
      return (await models.generate({ ...request, model: oa, messages, signal })).usage.input_tokens;
    };
    expect(await inputOf("a".repeat(400), [])).toBe(100);
    expect(await inputOf("河".repeat(400), [])).toBe(300);
    expect(await inputOf("a".repeat(400), ["data:image/png;base64,AA=="])).toBe(1_100);
    const written = await run("openai/gpt-4.1-mini", text("河".repeat(4_000)));
    expect(written).toMatchObject({ isEstimated: true });
    expect(written.tokens).toBeGreaterThan(3_000);
  });

  test("when the step's time passes before the answer begins: the provider has the prompt", async () => {
    const silent: Answer = (response) =>
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    const step = { ...llm1, model: oa, timeout_seconds: 1, retry: { attempts: 1 } };
    const result = await runStep(server, step, [silent]);
    expect(result).toMatchObject({ code: "step_timeout", isEstimated: true });
    expect(result.tokens).toBeGreaterThan(10);
  });

  // Fails when a count that is left out is 0: Ollama leaves out that of a prompt which it has in its cache.
  test.each<[string, string, string, number, number]>([
    [
      "the prompt, of an OpenAI form",
      oa,
      chunk({ content: "x".repeat(40) }, "stop", { usage: { completion_tokens: 3 } }) + DONE,
      30,
      3,
    ],
    [
      "the answer, of an OpenAI form",
      oa,
      chunk({ content: "x".repeat(40) }, "stop", { usage: { prompt_tokens: 5, completion_tokens: "?" } }) +
        DONE,
      5,
      10,
    ],
    [
      "the prompt, of Anthropic",
      an,
      anthropicStart({}) + anthropicText("x") + anthropicEnd("end_turn", { output_tokens: 3 }),
      30,
      3,
    ],
    [
      "the answer, of Google",
      go,
      googleChunk([{ text: "x".repeat(40) }], "STOP", { usageMetadata: { promptTokenCount: 5 } }),
      5,
      10,
    ],
  ])("when only one count is left out: %s", async (_, model, stream, input, output) => {
    const result = await run(model, stream);
    expect(result).toMatchObject({ status: "completed", isEstimated: true });
    if (input === 5) expect(result.tokens).toBe(input + output);
    else expect(result.tokens).toBeGreaterThan(input + output);
  });

  test("but a count that is left out beside the total is known", async () => {
    const usage = { completion_tokens: 2, total_tokens: 7 };
    const stream = chunk({ content: "x" }, "stop", { usage }) + DONE;
    expect(await run(oa, stream)).toMatchObject({
      isEstimated: false,
      tokens: 7,
      costMicroUsd: 5 * 2 + 2 * 8,
    });
  });

  // Fails when a refusal costs what its prompt would have cost.
  test("but a call that the provider refused has used nothing", async () => {
    const refusal: Answer = (response) => {
      response.writeHead(400, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: { message: "no such parameter" } }));
    };
    expect(await run(oa, refusal)).toMatchObject({ status: "failed", tokens: 0, isEstimated: false });
  });
});

describe("what was reported is charged", () => {
  const mini = "openai/gpt-4.1-mini";
  const cost = 900_000 * 0.4 + 90_000 * 1.6;

  test.each([
    [
      "is cut at its limit",
      "output_limit",
      chunk({ content: "half" }) + chunk({}, "length") + counts(900_000, 90_000) + DONE,
    ],
    [
      "is withheld",
      "content_filter",
      chunk({ content: "half" }) + chunk({}, "content_filter") + counts(900_000, 90_000) + DONE,
    ],
  ])("when an answer %s", async (_, code, stream) => {
    expect(await run(mini, stream)).toMatchObject({ code, tokens: 990_000, costMicroUsd: cost });
  });

  test("when a stream is cut after it, and by Anthropic's first event", async () => {
    const stream = chunk({ content: "half" }) + counts(50, 9);
    expect(await run(oc, cut(stream), text("all", counts(50, 9)))).toMatchObject({
      response: "all",
      tokens: 118,
    });
    const started = anthropicStart({ input_tokens: 50, output_tokens: 1 });
    const whole = started + anthropicText("all") + anthropicEnd("end_turn", { output_tokens: 9 });
    expect(await run(an, cut(started), whole)).toMatchObject({ response: "all", tokens: 51 + 59 });
  });

  test("when the step's time passes within an answer", async () => {
    const open: Answer = (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(anthropicStart({ input_tokens: 50, output_tokens: 1 }));
    };
    const result = await runStep(server, { ...llm1, model: an, timeout_seconds: 1, retry: { attempts: 1 } }, [
      open,
    ]);
    expect(result).toMatchObject({ status: "failed", code: "step_timeout", tokens: 51 });
    const timedOut = await runStep(server, { ...llm1, model: an }, [open], { timeout_minutes: 0.02 });
    expect(timedOut).toMatchObject({ status: "failed", code: "run_timeout", tokens: 51 });
  });

  // Fails when a worker that shuts down forgets what the provider has reported.
  test("when the worker hands the run back within an answer", async () => {
    const begun = Promise.withResolvers<void>();
    server.reset((response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(anthropicStart({ input_tokens: 50, output_tokens: 1 }));
      void slowPeer(100).then(begun.resolve);
    });
    const harness = new ExecutionHarness();
    harness.models = server.models();
    harness.definition = { ...steps({ id: "a", ...llm1, model: an }) };
    const { run: claimed, ending } = harness.begin();
    await begun.promise;
    harness.stop.abort(new Stop("drain", "the worker is shutting down"));
    expect(await ending).toEqual({ is: "stopped" });
    harness.checkEntries();
    expect(harness.store.row(claimed.run_id)).toMatchObject({ tokens: 51 });
    // The next worker goes on from here, and counts it as the step's.
    server.reset(
      anthropicStart({ input_tokens: 50, output_tokens: 1 }) + anthropicText("all") + anthropicEnd(),
    );
    const next = new ExecutionHarness();
    next.models = server.models();
    next.definition = harness.definition;
    const journal = harness.store.entriesOf(claimed.run_id).map((entry, i) => ({ ...entry, seq: i + 1 }));
    const secondExecution = next.begin({ event_seq: journal.length }, journal);
    await secondExecution.ending;
    const record = next.store.entriesOf(secondExecution.run.run_id).at(-1)?.output ?? "";
    expect(EndRecord.parse(JSON.parse(record)).checkpoint).toMatchObject({ tokens: 51 + 52 });
  });

  test("when a server refuses a forced tool choice within its answer", async () => {
    const error = { error: { code: 400, message: "no forced tool_choice" } };
    const script = [half(oc) + counts(50, 9) + event(error), text('{"route":"yes"}', counts(40, 1))];
    expect(await runStep(server, evaluator, script)).toMatchObject({ response: "went-a", tokens: 100 });
  });

  test("when a model answers with prose where a call was asked for", async () => {
    const choice = text('{"route":"yes"}', counts(50, 9));
    expect(await runStep(server, evaluator, [choice])).toMatchObject({ response: "went-a", tokens: 59 });
  });
});

describe("a money limit", () => {
  const limit = { max_total_cost_usd: 0.01 };

  // Fails when a model without a price costs nothing.
  test.each([oc, "openai/gpt-4.1-min", "openai-compatible/vendor/x"])(
    "refuses %s, which has no price, before it is called",
    async (model) => {
      const result = await runStep(
        server,
        { ...llm1, model },
        [text("fine", counts(900_000, 90_000))],
        limit,
      );
      expect(result).toMatchObject({ status: "failed", code: "model_without_price", retries: [] });
      expect(result.message).toContain(model);
      expect(server.requests).toEqual([]);
    },
  );

  test.each(["ollama/llama3", "openai/gpt-4.1-mini", "openai/gpt-4.1-mini-2025-04-14"])(
    "lets %s through",
    async (model) => {
      expect(await runStep(server, { ...llm1, model }, [text("fine", counts(1, 1))], limit)).toMatchObject({
        response: "fine",
      });
    },
  );

  // Fails when it is looked at between steps alone.
  test("holds within an agent, which then calls no tool", async () => {
    const paid = counts(900_000, 90_000);
    const script = [...Array.from({ length: 4 }, () => call('{"q":"a"}', paid)), text("fine", paid)];
    const result = await runStep(server, { ...ag1, model: oa }, script, limit);
    expect(result).toMatchObject({
      status: "failed",
      code: "max_total_cost",
      costMicroUsd: 2_520_000,
      toolCalls: [],
    });
    expect(server.requests).toHaveLength(1);
  });

  test("holds between an evaluator's answers and between tries", async () => {
    const paid = counts(900_000, 90_000);
    const prose = await runStep(server, { ...evaluator, model: oa }, [text("hm", paid)], limit);
    expect(prose).toMatchObject({ code: "max_total_cost", costMicroUsd: 2_520_000 });
    expect(server.requests).toHaveLength(1);
    const empty = await runStep(server, { ...llm1, model: oa }, [text(" ", paid)], limit);
    expect(empty).toMatchObject({ code: "max_total_cost", costMicroUsd: 2_520_000 });
    expect(server.requests).toHaveLength(1);
  });

  // Fails when a provider that reports no tokens makes every call free.
  test("holds for a provider that reports no tokens", async () => {
    const long = "word ".repeat(2_000);
    const script = [
      ...Array.from({ length: 5 }, () => chunk({ content: long }) + call('{"q":"a"}')),
      text("fine"),
    ];
    const result = await runStep(server, { ...ag1, model: oa }, script, limit);
    expect(result).toMatchObject({ status: "failed", code: "max_total_cost", toolCalls: [] });
    expect(server.requests).toHaveLength(1);
    expect(result.costMicroUsd).toBeGreaterThan(10_000);
    expect(result.isEstimated).toBe(true);
  });

  test("may be exceeded by the last answer of a run", async () => {
    const result = await runStep(
      server,
      { ...llm1, model: oa },
      [text("fine", counts(900_000, 90_000))],
      limit,
    );
    expect(result).toMatchObject({ status: "completed", response: "fine" });
  });
});

// Fails when the usage so far is estimated anew from the whole request with each piece: a request may have 16 MiB.
test("the tools of a request are not read again with each piece of its answer", async () => {
  /** How often the tools of a request were read until its answer of so many pieces was complete. */
  const readsOf = async (pieces: number): Promise<number> => {
    let reads = 0;
    const parameters: JsonObject = { type: "object" };
    Object.defineProperty(parameters, "description", { enumerable: true, get: () => `read ${++reads}` });
    const nextPiece = Promise.withResolvers<(stream: string) => void>();
    server.reset((response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(chunk({ content: "a " }));
      nextPiece.resolve((stream) => void response.write(stream));
    });
    let received = 0;
    await server.models().generate({
      model: oc,
      messages: [{ role: "user", content: "hello" }],
      tools: [{ name: "lookup", description: "", parameters }],
      toolChoice: "auto",
      effectKey: "k",
      signal: new AbortController().signal,
      onUsage: () => {},
      onText: () => {
        received += 1;
        const next = received < pieces ? chunk({ content: "a " }) : chunk({}, "stop") + DONE;
        void nextPiece.promise.then((write) => write(next));
      },
    });
    expect(received).toBe(pieces);
    return reads;
  };
  expect(await readsOf(20)).toBe(await readsOf(2));
});
