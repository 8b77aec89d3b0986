/** All faults. Each one ends by itself and leaves the system complete. */
import { setTimeout as sleep } from "node:timers/promises";
import type { FaultLog } from "./fault-log.ts";
import type { Link, LinkMode } from "./link.ts";
import type { Random } from "./random.ts";
import type { Memory } from "./stores.ts";
import type { System } from "./system.ts";
import { waitAtMost } from "./wait-at-most.ts";
import type { ManagedWorker } from "./workers.ts";

/** Causes a fault and ends it. `rolledBack` is called when Redis has lost its latest writes. */
export type FaultAction = (
  system: System,
  random: Random,
  log: FaultLog,
  rolledBack: () => void,
) => Promise<void>;

/** Kind → its action. `weight`: how often the kind is drawn, after each kind was drawn once. */
export const faults = {
  kill: { weight: 4, act: kill },
  stop: { weight: 2, act: pause },
  freeze: { weight: 2, act: freeze },
  lost_replies: { weight: 2, act: loseReplies },
  drain: { weight: 2, act: drain },
  isolate: { weight: 1, act: isolate },
  cut: { weight: 3, act: onLink("cut") },
  hang: { weight: 2, act: onLink("hang") },
  deaf: { weight: 3, act: onLink("deaf") },
  slow: { weight: 2, act: onLink("slow") },
  redis_kept: { weight: 1, act: restartRedis("kept") },
  redis_lost: { weight: 1, act: restartRedis("lost") },
  redis_older: { weight: 1, act: restartRedis("older") },
  redis_flushed: { weight: 1, act: (system, _random, log) => flushRedis(system, log) },
  redis_keys: { weight: 2, act: deleteKeys },
  postgres_restart: { weight: 1, act: restartPostgres(false) },
  postgres_crash: { weight: 1, act: restartPostgres(true) },
  edge_restart: { weight: 1, act: restartEdge },
  rest_restart: { weight: 1, act: restartRest },
  mcp_restart: { weight: 1, act: restartMcp },
} as const satisfies Record<string, { weight: number; act: FaultAction }>;
export type FaultKind = keyof typeof faults;

/** A part of the system has one fault at a time: another fault for it is skipped meanwhile. */
const busy = new WeakSet<object>();

export function isOccupied(part: object): boolean {
  return busy.has(part);
}

export async function exclusively(part: object, work: () => Promise<void>): Promise<void> {
  if (busy.has(part)) return;
  busy.add(part);
  try {
    await work();
  } finally {
    busy.delete(part);
  }
}

export async function logged(
  log: FaultLog,
  kind: FaultKind,
  detail: string,
  blocks: boolean,
  work: () => Promise<void> | void,
): Promise<void> {
  const fault = log.begin(kind, detail, blocks);
  try {
    await work();
  } finally {
    log.end(fault);
  }
}

function oneAlive({ workers }: System, random: Random): ManagedWorker | null {
  const alive = workers.filter((member) => member.alive);
  return alive.length > 0 ? random.pick(alive) : null;
}

/** A worker with runs, if there is one. */
function oneBusy(system: System, random: Random): ManagedWorker | null {
  const busyOnes = system.workers.filter((member) => member.alive && member.active > 0);
  return busyOnes.length > 0 ? random.pick(busyOnes) : oneAlive(system, random);
}

async function kill(system: System, random: Random, log: FaultLog): Promise<void> {
  const member = oneBusy(system, random);
  if (member) await logged(log, "kill", member.name, false, () => member.kill());
}

async function pause(system: System, random: Random, log: FaultLog): Promise<void> {
  const ms = random.pick([1_500, 8_000]);
  await stopWhile(oneAlive(system, random), "stop", () => sleep(ms), log);
}

/** Longer than a takeover. */
const FROZEN_MS = 26_000;

/** Stops a worker until another one has claimed one of its runs. It resumes while the other executes, and must not write. */
async function freeze(system: System, random: Random, log: FaultLog): Promise<void> {
  const member = oneBusy(system, random);
  const frozenRuns = member?.heldRuns ?? new Set<string>();
  const others = system.workers.filter((other) => other !== member);
  const untilTaken = async (): Promise<void> => {
    await waitAtMost(FROZEN_MS, () =>
      others.some(({ heldRuns: held }) => [...held].some((run) => frozenRuns.has(run))),
    );
    await sleep(random.between(0, 1_000));
  };
  await stopWhile(member, "freeze", untilTaken, log);
}

async function stopWhile(
  member: ManagedWorker | null,
  kind: FaultKind,
  wait: () => Promise<unknown>,
  log: FaultLog,
): Promise<void> {
  if (!member) return;
  await exclusively(member, () =>
    logged(log, kind, member.name, false, async () => {
      member.pause();
      await wait();
      member.resume();
    }),
  );
}

/** The commits of a busy worker succeed, and their replies are lost. */
async function loseReplies(system: System, random: Random, log: FaultLog): Promise<void> {
  const member = oneBusy(system, random);
  const links = system.links.filter(({ name }) => name === `${member?.name}-postgres`);
  await setLinks(links, "deaf", 2_000, log);
}

async function drain(system: System, random: Random, log: FaultLog): Promise<void> {
  const member = oneAlive(system, random);
  if (member) await logged(log, "drain", member.name, false, () => member.drain());
}

function onLink(mode: Exclude<LinkMode, "open">): FaultAction {
  return ({ links }, random, log) =>
    setLinks([random.pick(links)], mode, random.pick([300, 1_500, 4_000, 9_000]), log);
}

/**
 * Cuts one worker off from Redis for longer than the 5 s after which it tries direct claims. The other workers reach
 * Redis, so it must get none.
 */
async function isolate({ links }: System, random: Random, log: FaultLog): Promise<void> {
  const toRedis = links.filter(({ name }) => /^worker-\d-redis$/.test(name));
  await setLinks([random.pick(toRedis)], "cut", 13_000, log);
}

/** Sets links to a mode for `ms`, or until `isOver`. */
export async function setLinks(
  links: readonly Link[],
  mode: Exclude<LinkMode, "open">,
  ms: number,
  log: FaultLog,
  isOver: () => boolean = () => false,
): Promise<void> {
  await Promise.all(
    links.map((link) =>
      exclusively(link, () =>
        logged(log, mode, `${link.name} for ${ms} ms`, mode !== "slow", async () => {
          link.set(mode);
          await waitAtMost(ms, isOver);
          link.set("open");
        }),
      ),
    ),
  );
}

function restartRedis(memory: Memory): FaultAction {
  return ({ redis }, random, log, rolledBack) =>
    exclusively(redis, async () => {
      if (memory === "older") {
        await redis.copy();
        await sleep(random.between(2_000, 10_000));
      }
      const downMs = random.pick([0, 0, 1_000, 7_000]);
      await logged(log, `redis_${memory}`, `down for ${downMs} ms`, true, () =>
        redis.restart(downMs, memory),
      );
      if (memory === "older") rolledBack();
    });
}

export async function flushRedis({ redis }: System, log: FaultLog): Promise<void> {
  await exclusively(redis, () =>
    logged(log, "redis_flushed", "", false, async () => {
      await redis.client.flushall();
    }),
  );
}

async function deleteKeys({ redis }: System, random: Random, log: FaultLog): Promise<void> {
  await exclusively(redis, async () => {
    const keys = (await redis.client.keys("*")).toSorted();
    if (keys.length === 0) return;
    const drawnKeys = new Set(Array.from({ length: random.pick([1, 1, 2]) }, () => random.pick(keys)));
    await logged(log, "redis_keys", [...drawnKeys].join(" "), false, async () => {
      await redis.client.del(...drawnKeys);
    });
  });
}

function restartPostgres(crash: boolean): FaultAction {
  return ({ postgres }, random, log) => {
    const downMs = random.pick([0, 1_000, 3_000]);
    const kind = crash ? "postgres_crash" : "postgres_restart";
    return exclusively(postgres, () =>
      logged(log, kind, `down for ${downMs} ms`, true, () => postgres.restart(downMs, crash)),
    );
  };
}

async function restartEdge({ edge }: System, random: Random, log: FaultLog): Promise<void> {
  const signal = random.pick(["SIGKILL", "SIGTERM"] as const);
  await exclusively(edge, () =>
    logged(log, "edge_restart", signal, false, () => edge.restart(random.pick([0, 500]), signal)),
  );
}

async function restartRest({ rest }: System, random: Random, log: FaultLog): Promise<void> {
  const signal = random.pick(["SIGKILL", "SIGTERM"] as const);
  await exclusively(rest, () =>
    logged(log, "rest_restart", signal, true, () => rest.restart(random.pick([0, 1_000]), signal)),
  );
}

async function restartMcp({ mcp }: System, random: Random, log: FaultLog): Promise<void> {
  const downMs = random.pick([0, 300, 3_000]);
  await exclusively(mcp, () =>
    logged(log, "mcp_restart", `down for ${downMs} ms`, false, () => mcp.restart(downMs)),
  );
}
