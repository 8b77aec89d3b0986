import { Lane } from "../../../shared/contracts/run.ts";
import type { TestQueue } from "./fixture.ts";
import type { Entry, Model } from "./model.ts";

/** All keys of a shard, in a form that does not depend on the order of Redis's replies. */
export type Content = Record<string, Record<string, string | number> | string[]>;

/** What the shard holds in Redis. */
export async function observe(t: TestQueue): Promise<Content> {
  const zsets = ["reserved", "due", "timer", "leases"];
  const lists = ["ready", "active", "queued_or_reserved", ...Lane.options.map((lane) => `ring:${lane}`)];
  const pipeline = t.redis
    .pipeline()
    .hgetall(t.key("jobs"))
    .hgetall(t.key("limits"))
    .hgetall(t.key("lane_starts"))
    .hgetall(t.key("minutes"));
  for (const name of zsets) pipeline.zrange(t.key(name), "0", "-1", "WITHSCORES");
  for (const name of lists) pipeline.zrange(t.key(name), "0", "-1");
  const replies = (await pipeline.exec())?.map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
  const [jobs, limits, starts, minutes, ...rest] = replies ?? [];
  const content: Content = {
    jobs: readHash(jobs),
    limits: readHash(limits),
    lane_starts: readHash(starts),
    minutes: readMinutes(minutes, t.clock.nowMs),
  };
  zsets.forEach((name, i) => (content[name] = readScores(rest[i])));
  lists.forEach((name, i) => (content[name] = readList(rest[zsets.length + i]).toSorted()));
  return content;
}

export async function countMarkers(t: TestQueue): Promise<Partial<Record<Lane, number>>> {
  const pipeline = t.redis.pipeline();
  for (const lane of Lane.options) pipeline.llen(t.key(`wake:${lane}`));
  const replies = (await pipeline.exec()) ?? [];
  return Object.fromEntries(Lane.options.map((lane, i) => [lane, Number(replies[i]?.[1])]));
}

/** What the shard must hold according to the model. */
export function expected(model: Model): Content {
  const all = [...model.jobs.values()];
  const timesOf = (...states: Entry["state"][]): Record<string, number> =>
    Object.fromEntries(model.list(...states).map(({ run, atMs }) => [run, atMs]));
  const members = (entries: Entry[]): string[] =>
    entries.map(({ tenant, run }) => `${tenant}\0${run}`).toSorted();
  const content: Content = {
    jobs: Object.fromEntries(all.map((entry) => [entry.run, rawJob(entry)])),
    limits: Object.fromEntries(
      Array.from(model.limits, ([tenant, limit]) => {
        const { version, maxConcurrentRuns, maxQueuedRuns, requestsPerSecond, weight } = limit;
        const bucket = model.buckets.get(tenant);
        return [
          tenant,
          [
            version,
            maxConcurrentRuns,
            maxQueuedRuns,
            requestsPerSecond,
            weight,
            ...(bucket ? [bucket.milliTokens, bucket.atMs] : []),
          ].join(" "),
        ];
      }),
    ),
    lane_starts: Object.fromEntries(
      Array.from(model.laneStarts.buckets, ([lane, { tokens, atMs, askedMs }]) => [
        lane,
        [tokens, atMs, askedMs].join(" "),
      ]),
    ),
    minutes: Object.fromEntries(
      Array.from(model.limits, ([tenant, { runsPerMinute }]) => [
        tenant,
        [runsPerMinute, model.startsOf(tenant).join(",")].join(" "),
      ]),
    ),
    ready: model
      .list("ready")
      .map(({ lane, tenant, score, run }) => [lane, tenant, String(score).padStart(15, "0"), run].join("\0"))
      .toSorted(),
    reserved: timesOf("reserved"),
    due: timesOf("due"),
    timer: timesOf("timer"),
    leases: timesOf("leased"),
    active: members(model.list("leased")),
    queued_or_reserved: members(model.list("reserved", "ready", "due")),
  };
  for (const lane of Lane.options) {
    const ready = model.list("ready").filter((entry) => entry.lane === lane);
    // docs/protocol.md 10: a tenant is in the ring if and only if it has ready jobs there and a free slot.
    const tenants = new Set(ready.map(({ tenant }) => tenant).filter((tenant) => model.hasSlot(tenant)));
    content[`ring:${lane}`] = [...tenants].toSorted();
  }
  return content;
}

function rawJob({ state, tenant, lane, score, owner, requeueAtMs }: Entry): string {
  return [state, tenant, lane, score, owner ?? "", requeueAtMs ?? ""].join("\t");
}

function readList(reply: unknown): string[] {
  return Array.isArray(reply) ? reply.map(String) : [];
}

function readHash(reply: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(reply ?? {}).map(([field, value]) => [field, String(value)]));
}

/** The starts that count at this time, one second for each: a script forgets the others when it writes the next one. */
function readMinutes(reply: unknown, nowMs: number): Record<string, string> {
  const first = Math.floor(nowMs / 1000) - 60;
  const starts = (text: string): string[] =>
    Array.from(text.matchAll(/(\d+):(\d+)/g), ([, second = "", count]) =>
      Array.from({ length: Number(count) }, () => second),
    ).flat();
  return Object.fromEntries(
    Object.entries(readHash(reply)).map(([tenant, raw]) => {
      const [most, text = ""] = raw.split(" ");
      const counted = starts(text).filter((second) => Number(second) >= first);
      return [tenant, [most, counted.join(",")].join(" ")];
    }),
  );
}

function readScores(reply: unknown): Record<string, number> {
  const flat = readList(reply);
  const scores: Record<string, number> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) scores[flat[i] ?? ""] = Number(flat[i + 1]);
  return scores;
}
