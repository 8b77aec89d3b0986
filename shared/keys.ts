import { shardOf } from "./contracts/ids.ts";
import type { RunId, TenantId } from "./contracts/ids.ts";

/**
 * Every Redis key: nothing is written under a name that is not built here.
 *
 * | Key | Type | Owner | Life |
 * |---|---|---|---|
 * | `synapse:orchestrations:<shard>` | zset of ready runs | queue scripts | as long as runs are ready |
 * | `{synapse:orchestrations:<shard>}:*` | the shard's other structures, named in queue/common.lua | queue scripts | until a rebuild |
 * | `{e<i>}:live` | stream of committed entries | workers, edge → relay | MAXLEN ~ 10 000 |
 * | `provider:<platform or tenant:<id>>:<provider>/<model>` | zset of model calls under way | provider scripts | 30 s after the last call |
 * | `{provider:…}:*` | what waits for the model and what is known of it, named in providers/common.lua | provider scripts | 2 minutes, longer while a limit that was learned holds |
 * | `ctl:<incarnation>` | channel of hints (a run was cancelled, a relative of it has ended, drain) and questions | edge, workers → worker | none: a message is received or lost |
 * | `answer:<question>` | channel of one answer | worker → edge | none |
 */
export const keys = {
  /**
   * The ready runs of a queue shard. Shard 0 has the literal name that autoscalers read. The name is the shard's
   * hash tag.
   */
  ready: (shard: number) => `synapse:orchestrations:${shard === 0 ? "default" : shard}`,
  /** The marker of a lane, on which workers with an open slot block. */
  wake: (shard: number, lane: string) => `{${keys.ready(shard)}}:wake:${lane}`,
  /** The marker of a lane on which workers block that have only spare slots. */
  wakeSpare: (shard: number, lane: string) => `{${keys.ready(shard)}}:wake_spare:${lane}`,
  /** Ends the wait of one worker for markers of the shard. */
  endWait: (shard: number, incarnation: string) => `{${keys.ready(shard)}}:end_wait:${incarnation}`,
  /** The calls to a model with the API key of a tenant (null: the operator's). The name is the hash tag of the model's other keys. */
  providerCalls: (keyOwner: TenantId | null, provider: string, model: string) =>
    `provider:${keyOwner === null ? "platform" : `tenant:${keyOwner}`}:${provider}/${model}`,
  live: (eventShard: number) => `{e${eventShard}}:live`,
  control: (incarnation: string) => `ctl:${incarnation}`,
  answer: (question: string) => `answer:${question}`,
};

/** The message that asks a worker for its health. `question`: the name of the channel of the answer. */
export function healthQuestion(question: string): string {
  return `health ${question}`;
}

/** The channel of the answer that a message of `healthQuestion` names; null: it is another message. */
export function healthQuestionOf(message: string): string | null {
  return /^health ([0-9a-f]{32})$/.exec(message)?.[1] ?? null;
}

/**
 * The message that asks a worker to test a mail server. `test`: a JSON text, in which the server's URL is sealed. Workers of earlier
 * versions take it for a hint and do not answer.
 */
export function mailQuestion(question: string, test: string): string {
  return `mail ${question} ${test}`;
}

/** The channel of the answer and the test that a message of `mailQuestion` names; null: it is another message. */
export function mailQuestionOf(message: string): { question: string; test: string } | null {
  const [, question, test] = /^mail ([0-9a-f]{32}) (.+)$/s.exec(message) ?? [];
  return question === undefined || test === undefined ? null : { question, test };
}

/** The numbers of shards where the environment sets no others. They must be the same in all processes of one Redis. */
export const DEFAULT_SHARDS = { queue: 1, event: 1 };

/** The queue shard of all jobs of a tenant, so that one script sees everything that the tenant's limits count. */
export function queueShardOf(tenant: TenantId, shards: number): number {
  return shardOf(tenant, shards);
}

/**
 * The event shard of a run: the live stream that its entries are published to, and the relay that serves its
 * viewers.
 */
export function eventShardOf(run: RunId, shards: number): number {
  return shardOf(run, shards);
}
