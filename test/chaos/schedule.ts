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

/** Every point once in the first three quarters, every kind once, and then more of them as they are drawn. */
export function makeSchedule(seed: number, lengthMs: number): Item[] {
  const random = randomOf(seed, "schedule");
  const spanMs = lengthMs * 0.75;
  const armed = random
    .shuffle(pointNames)
    .map((point, i, all): Item => ({ atMs: 2_000 + (spanMs / all.length) * i, point }));
  const bag = kinds.flatMap((kind) => Array.from({ length: faults[kind].times }, () => kind));
  const once = random.shuffle(kinds);
  const drawn: Item[] = [];
  for (let atMs = 4_000; atMs < lengthMs - 4_000; atMs += random.between(2_500, 6_000)) {
    drawn.push({ atMs, fault: once.pop() ?? random.pick(bag) });
  }
  return [...armed, ...drawn].toSorted((a, b) => a.atMs - b.atMs);
}

/** Does what the schedule says; ends when all its faults have ended. */
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
  for (const item of schedule) {
    await sleep(Math.max(0, startedMs + item.atMs - performance.now()));
    const done = "fault" in item
      ? faults[item.fault].act(system, random, log, rolledBack)
      : armPoint(item.point, system, log);
    // A fault that fails (a store was away that it wanted to ask) is a fault less.
    underWay.push(done.catch(() => {}));
  }
  await Promise.all(underWay);
}

/** Most points are passed all the time; these have to be provoked, and again when nobody came by. */
async function armPoint(point: Point, system: System, log: FaultLog): Promise<void> {
  system.points.arm(point);
  const provoke = provoked[point];
  for (let tries = 0; provoke && tries < 6 && system.points.isArmed(point); tries++) {
    await provoke(system, log);
    await sleep(3_000);
  }
}

const provoked: Partial<Record<Point, (system: System, log: FaultLog) => Promise<void>>> = {
  rebuild_reset: flushRedis,
  rebuild_unbegun: flushRedis,
  walk_page: flushRedis,
  walk_shown: flushRedis,
  async handed_back_unreleased({ workers }, log) {
    for (const member of workers.filter(({ alive }) => alive).slice(0, 1)) {
      log.end(log.begin("drain", member.name, false));
      member.drain();
    }
    await sleep(0);
  },
  async claimed_directly({ links }, log) {
    await hold(links.filter(({ name }) => /^worker-\d-redis$/.test(name)), "cut", 9_000, log);
  },
};
