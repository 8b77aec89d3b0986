/** When what is done to the system: drawn from the seed before anything begins. */
import { setTimeout as sleep } from "node:timers/promises";
import type { FaultLog } from "./fault-log.ts";
import { faults, flushRedis, hold } from "./faults.ts";
import type { FaultKind } from "./faults.ts";
import { pointNames } from "./points.ts";
import type { Point } from "./points.ts";
import { randomOf } from "./random.ts";
import type { System } from "./system.ts";

/** At `atMs` from the beginning: a fault, or a point that is armed (and, if need be, provoked). */
type Item = { atMs: number } & ({ fault: FaultKind } | { point: Point });

const kinds = Object.keys(faults).filter(isKind);

function isKind(name: string): name is FaultKind {
  return Object.hasOwn(faults, name);
}

/** Who dies as the reconciler leaves its lock behind for 15 s: these points need time between them. */
const slow = pointNames.filter((point) => /^(rebuild|walk)_/.test(point));

/** In the beginning, and later now and then, one worker stops and one dies while all else is well: takeovers are measured there. */
const CALM_MS = 26_000;
const CALM_EVERY_MS = 180_000;

/** Every point once, every kind once, and then more of them as they are drawn; none of it in a calm. */
export function makeSchedule(seed: number, lengthMs: number): Item[] {
  const random = randomOf(seed, "schedule");
  const stormMs = Math.min(lengthMs, CALM_EVERY_MS) - CALM_MS;
  const spread = (names: readonly Point[], share: number): Item[] =>
    random
      .shuffle(names)
      .map((point, i) => ({ atMs: CALM_MS + (stormMs * share * i) / names.length, point }));
  const bag = kinds.flatMap((kind) => Array.from({ length: faults[kind].times }, () => kind));
  const once = random.shuffle(kinds);
  const drawn: Item[] = [];
  for (let atMs = 0; atMs < lengthMs - 4_000; atMs += random.between(3_200, 5_000)) {
    if (atMs % CALM_EVERY_MS < CALM_MS) {
      drawn.push({ atMs: atMs + 3_000, fault: "freeze" }, { atMs: atMs + 6_000, fault: "kill" });
      drawn.push({ atMs: atMs + 23_000, fault: "lost_answers" });
      atMs += CALM_MS;
    }
    drawn.push({ atMs, fault: once.pop() ?? random.pick(bag) });
  }
  const quick = pointNames.filter((point) => !slow.includes(point));
  return [...spread(slow, 0.9), ...spread(quick, 0.65), ...drawn].toSorted((x, y) => x.atMs - y.atMs);
}

/** Does what the schedule says; ends when all its faults have ended. Throws when one could not be done or undone. */
export async function follow(
  schedule: readonly Item[],
  system: System,
  seed: number,
  log: FaultLog,
  rolledBack: () => void,
): Promise<void> {
  const startedMs = performance.now();
  const random = randomOf(seed, "faults");
  const underWay: Promise<void>[] = [];
  let failed: unknown = null;
  for (const item of schedule) {
    await sleep(Math.max(0, startedMs + item.atMs - performance.now()));
    const done =
      "fault" in item
        ? faults[item.fault].act(system, random, log, rolledBack)
        : armPoint(item.point, system, log);
    underWay.push(
      done.catch((error: unknown) => {
        failed ??= error;
      }),
    );
  }
  await Promise.all(underWay);
  if (failed !== null) throw failed;
}

/** Most points are passed all the time; these have to be provoked, and again when nobody came by for a while. */
type Provoke = { act(system: System, log: FaultLog): Promise<void>; everyMs: number; times: number };

async function armPoint(point: Point, system: System, log: FaultLog): Promise<void> {
  system.points.arm(point);
  const provoke = provoked[point];
  if (!provoke) return;
  for (let tries = 0; tries < provoke.times; tries++) {
    await provoke.act(system, log);
    for (let waitedMs = 0; waitedMs < provoke.everyMs; waitedMs += 200) {
      if (!system.points.isArmed(point)) return;
      await sleep(200);
    }
  }
}

const rebuild: Provoke = { act: flushRedis, everyMs: 18_000, times: 3 };

const provoked: Partial<Record<Point, Provoke>> = {
  rebuild_reset: rebuild,
  rebuild_unbegun: rebuild,
  walk_page: rebuild,
  walk_shown: rebuild,
  handed_back_unreleased: { act: drainOne, everyMs: 600, times: 150 },
  claimed_directly: { act: cutRedisOff, everyMs: 5_000, times: 3 },
};

async function drainOne({ workers }: System, log: FaultLog): Promise<void> {
  const member = workers.find(({ alive, active }) => alive && active > 0);
  if (!member) return;
  log.end(log.begin("drain", member.name, false));
  member.drain();
}

async function cutRedisOff({ links }: System, log: FaultLog): Promise<void> {
  await hold(
    links.filter(({ name }) => /^worker-\d-redis$/.test(name)),
    "cut",
    9_000,
    log,
  );
}
