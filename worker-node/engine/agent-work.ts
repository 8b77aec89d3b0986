import { compact, compactRefused } from "./compaction.ts";
import { callTool, isOutcomeUnknown, textForModel } from "./call-tool.ts";
import { textOf } from "./model-call.ts";
import { deltas } from "./deltas.ts";
import { namesOf } from "./events.ts";
import { CallIsOpen, RequestTooLong, RetryableError, TerminalError } from "./step-errors.ts";
import { isFinal, takeOutput } from "./structured-output.ts";
import { specsOf } from "./toolbox.ts";
import type { StepOf } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { Conversation } from "./conversation.ts";
import type { Answer } from "./conversation-turns.ts";
import type { McpPending } from "./mcp-pending.ts";
import type { OpenCall } from "./open-calls.ts";
import type { StepContext } from "./ports.ts";
import type { Toolbox } from "./toolbox.ts";

/** The most calls of one answer that are made at the same time. */
const CALLS_AT_ONCE = 8;

/** The suffix of the name of a request that is sent again, because the model has refused the first one as too long. */
const SHORTER = ".shorter";

/** What an agent works with. */
export type AgentWork = {
  step: StepOf<"agent">;
  context: StepContext;
  conversation: Conversation;
  toolbox: Toolbox;
  model: string | null;
  maxTurns: number;
  /** A conversation with more bytes is compacted. */
  compactAtBytes: number;
  /** The most bytes of a tool's result. */
  resultBytes: number;
  /** The step's `output_schema`; null: the answer is text. */
  schema: JsonObject | null;
  /** True: another agent has given the task, and the text is not streamed, because it is no part of the step's answer. */
  isDelegated: boolean;
  /** Makes a call while no other call that was passed to it, in the whole visit, is under way. */
  alone<Value>(call: () => Promise<Value>): Promise<Value>;
};

/**
 * Lets an agent work until it answers without a call of its tools, and returns the answer.
 *
 * Each answer with tool calls, and each result of a call, is committed before the next answer is requested. After a crash or
 * a retry the agent therefore continues in the middle: a call that has no result yet is made again, under the same effect key.
 * @throws CallIsOpen when the step has to wait for what a call has begun: the other calls of the answer have their results
 * @throws TerminalError `max_turns` when the agent still calls tools after `maxTurns` answers
 */
export async function workOn(work: AgentWork): Promise<Json> {
  const { step, context, conversation, schema, maxTurns, isDelegated } = work;
  for (;;) {
    const { openCalls, last } = conversation;
    if (openCalls.length > 0) {
      // The agent needs another answer after its tools.
      context.checkCost();
      await makeCalls(openCalls, work);
      continue;
    }
    // The answer to a delegated task that was committed before a crash.
    if (last?.role === "assistant") return textOf(last);
    if (conversation.answerCount >= maxTurns + conversation.repairCount) {
      throw new TerminalError("max_turns", `the agent has not answered in ${maxTurns} turns`);
    }
    const answer = await answerOf(work);
    if (schema !== null && isFinal(answer)) {
      const output = await takeOutput(answer, conversation, schema, context.sandbox);
      if (output !== null) return output.value;
      continue;
    }
    if (answer.tool_calls.length === 0) {
      const text = textOf(answer);
      // The result of the call that gave the task is another entry.
      if (isDelegated) await conversation.commit();
      return text;
    }
    if (answer.content.trim() !== "") {
      const turn = conversation.answerCount;
      context.note({ type: "llm_thought", ...namesOf(step), thought: answer.content, turn });
    }
    await conversation.commit();
  }
}

/** Requests the next answer. A conversation that the model refuses as too long is compacted once, and the answer requested again. */
async function answerOf(work: AgentWork): Promise<Answer> {
  const { step, context, conversation, toolbox, model, isDelegated } = work;
  const request = () => ({
    model,
    tools: specsOf(toolbox),
    toolChoice: "auto" as const,
    ...(isDelegated ? {} : { text: deltas(step, context) }),
  });
  // Also after a crash: the request that was refused has had the other key, with another body.
  if (conversation.isShortened) return conversation.callModel(request(), SHORTER);
  await compact(work);
  try {
    return await conversation.callModel(request());
  } catch (error) {
    if (!(error instanceof RequestTooLong) || !(await compactRefused(work))) throw error;
    return conversation.callModel(request(), SHORTER);
  }
}

/**
 * Makes calls of one answer in their order, calls of parallel tools at the same time. The results of the other calls are awaited and
 * committed before a failure is thrown, or before the step waits for a call.
 *
 * Of several failures the first is thrown, but a refusal only when all are refusals. After a refusal all calls get new effect keys, and
 * a call with an unknown outcome must keep its key.
 */
async function makeCalls(calls: readonly OpenCall[], work: AgentWork): Promise<void> {
  let open: CallIsOpen | undefined;
  for (const group of inGroups(calls, work.toolbox)) {
    const outcomes = await Promise.allSettled(group.map((call) => makeCall(call, work)));
    const reasons = outcomes.flatMap((outcome): unknown[] =>
      outcome.status === "rejected" ? [outcome.reason] : [],
    );
    open ??= reasons.find((reason) => reason instanceof CallIsOpen);
    const failures = reasons.filter((reason) => !(reason instanceof CallIsOpen));
    if (failures.length > 0) throw failures.find((reason) => !isRefusal(reason)) ?? failures[0];
  }
  if (open !== undefined) throw open;
}

function isRefusal(reason: unknown): boolean {
  return reason instanceof RetryableError && reason.answered;
}

/** Calls that may be made at the same time: neighbours in their order whose tools are parallel. */
function inGroups(calls: readonly OpenCall[], toolbox: Toolbox): OpenCall[][] {
  const groups: OpenCall[][] = [];
  let open: OpenCall[] | null = null;
  for (const call of calls) {
    const isParallel = toolbox.get(call.name)?.parallel ?? false;
    if (isParallel && open !== null && open.length < CALLS_AT_ONCE) {
      open.push(call);
      continue;
    }
    const group = [call];
    groups.push(group);
    open = isParallel ? group : null;
  }
  return groups;
}

async function makeCall(open: OpenCall, work: AgentWork): Promise<void> {
  const { step, context, conversation, toolbox, alone } = work;
  const effects: string[] = [];
  const usage: Usage[] = [];
  const files = context.filesOfCall();
  const effect = async (): Promise<string> => {
    const key = await conversation.confirmedKey(open.at);
    effects.push(key);
    return key;
  };
  const begin = async (): Promise<{ key: string; wasBegun: boolean }> => {
    const begun = await conversation.begin(open.at);
    effects.push(begun.key);
    return begun;
  };
  const isBegun = conversation.isBegun(open.at);
  const pending = (key: string) => conversation.pending(key);
  const commitPending = (waiting: McpPending) => conversation.commitPending(waiting);
  const charge = (used: Usage): void => void usage.push(used);
  const call = {
    ...open,
    by: "agent" as const,
    isBegun,
    effect,
    begin,
    charge,
    pending,
    commitPending,
    files,
  };
  const make = () => callTool(call, toolbox, step, context);
  const isParallel = toolbox.get(open.name)?.parallel ?? false;
  const result = await (isParallel ? make() : alone(make));
  const content = textForModel(result, work.resultBytes);
  const outcome = { content, isUnknown: isOutcomeUnknown(result), effects, usage, files };
  await conversation.commitResult(open, outcome);
}
