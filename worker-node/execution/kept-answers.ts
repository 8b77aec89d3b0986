import { z } from "zod";
import { digestOf } from "../../shared/text/bytes.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { ModelName } from "../../shared/contracts/model-name.ts";
import { log, messageOf } from "../../shared/log.ts";
import { MAX_ANSWER_BYTES, MAX_KEPT_AT_ONCE } from "../../shared/store/money/kept-answers.ts";
import type { AnswerToKeep } from "../../shared/store/money/kept-answers.ts";
import { ToolCall } from "../engine/conversation-turns.ts";
import { inTrack, namesOf } from "../engine/events.ts";
import type { ModelAnswer, ModelRequest, Models } from "../engine/ports.ts";
import type { PaidVisit } from "./execution-state.ts";
import { waitForStore } from "./wait-for-store.ts";

/** What a kept answer holds. */
const Kept = z.object({
  text: z.string(),
  tool_calls: z.array(ToolCall),
  parts: JsonValue.exactOptional(),
});

/**
 * How a try uses kept answers. `mayTake`: its calls may take one. `answers`: the answers of the try, which are kept when the step has
 * accepted them.
 */
type KeptAnswerUse = { mayTake: boolean; answers: AnswerToKeep[]; signal: AbortSignal };

/** The greatest age of a kept answer that a call of the step may take, in seconds; null: the step keeps no answers. */
function ttlOf(step: Step): number | null {
  const keeps = "cache_responses_enabled" in step && step.cache_responses_enabled;
  return keeps ? step.cache_response_ttl_seconds : null;
}

/**
 * The models of a step with `cache_responses_enabled`: a call takes the answer that was kept from an earlier call of the tenant
 * with the same request (docs/protocol.md 5.26). It costs nothing, so no limit on money is checked. A try after a failed one takes
 * none: what failed may have been the answer.
 */
export function withKeptAnswers(
  visit: PaidVisit,
  { mayTake, answers, signal }: KeptAnswerUse,
  models: Models,
): Models {
  const { state, track, step } = visit;
  const { run, deps, runLog } = state;
  const ttl_seconds = ttlOf(step);
  if (ttl_seconds === null) return models;
  return {
    async generate(request) {
      const name = deps.prices.nameOf(request.model);
      if (name === null) return models.generate(request);
      const request_hash = await hashOf(name, request);
      const wanted = { tenant_id: run.tenant_id, request_hash, ttl_seconds };
      const kept = mayTake ? await waitForStore(run, signal, () => deps.store.readKeptAnswer(wanted)) : null;
      if (kept !== null) {
        const model = `${name.provider}/${name.model}`;
        const age_seconds = Math.round(kept.age_ms / 1_000);
        runLog.note([inTrack(track, { type: "llm_cached", ...namesOf(step), model, age_seconds })]);
        deps.count.add("synapse_model_kept_answers_total", { provider: name.provider, model: name.model });
        return take(kept.answer, name, request);
      }
      const answer = await models.generate(request);
      const toKeep = answerToKeep(answer, name);
      if (toKeep !== null && answers.length < MAX_KEPT_AT_ONCE) answers.push({ ...wanted, answer: toKeep });
      return answer;
    },
  };
}

/** Keeps the answers that a step has accepted. The step does not wait for it, and an answer that is not kept is paid for again. */
export function keepAnswers({ run, deps }: PaidVisit["state"], answers: readonly AnswerToKeep[]): void {
  if (answers.length === 0) return;
  deps.store.keepAnswers([...answers]).catch((error: unknown) => {
    log.warn("model.answers_not_kept", { run: run.run_id, message: messageOf(error) });
  });
}

function take(answer: string, name: ModelName, request: ModelRequest): ModelAnswer {
  const kept = Kept.parse(JSON.parse(answer));
  if (kept.text !== "") request.onText(kept.text);
  const usage = { ...name, input_tokens: 0, output_tokens: 0, cost_micro_usd: 0, cached: true as const };
  return { ...kept, usage };
}

/** An answer as it is kept; null: it is too long, or of another model than the request names. */
function answerToKeep({ text, tool_calls, parts, usage }: ModelAnswer, name: ModelName): string | null {
  if (usage.provider !== name.provider || usage.model !== name.model) return null;
  const answer = JSON.stringify({ text, tool_calls, parts });
  return Buffer.byteLength(answer) <= MAX_ANSWER_BYTES ? answer : null;
}

/** Everything on which an answer depends: the model, and what it reads. */
function hashOf({ provider, model }: ModelName, request: ModelRequest): Promise<string> {
  const { messages, tools, toolChoice } = request;
  return digestOf("SHA-256", JSON.stringify([provider, model, toolChoice, tools, messages]));
}
