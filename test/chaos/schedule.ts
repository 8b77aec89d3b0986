/** The schedule of faults and points, drawn from the seed before the run begins. */
import { setTimeout as sleep } from "node:timers/promises";
import type { FaultLog } from "./fault-log.ts";
import { faults } from "./faults.ts";
import type { FaultKind } from "./faults.ts";
import { pointNames } from "./points.ts";
import type { Point } from "./points.ts";
import { provoke } from "./provoke.ts";
import { randomOf } from "./random.ts";
import type { System } from "./system.ts";

/** At `atMs` from the beginning: a fault, or a point that the system is made to reach. */
type Item = { atMs: number } & ({ fault: FaultKind } | { point: Point });

const kinds = Object.keys(faults).filter(isKind);

function isKind(name: string): name is FaultKind {
  return Object.hasOwn(faults, name);
}

/** A reconciler that dies leaves its lock behind for 15 s: these points need time between them. */
const slow = pointNames.filter((point) => /^(rebuild|scan)_/.test(point));
const quick = pointNames.filter((point) => !slow.includes(point));

/** At the beginning of each cycle one worker is stopped and one is killed, without other faults: takeovers are measured there. */
const calm: readonly { atMs: number; fault: FaultKind }[] = [
  { atMs: 3_000, fault: "freeze" },
  { atMs: 6_000, fault: "kill" },
  { atMs: 23_000, fault: "lost_replies" },
];
const CALM_MS = 26_000;
const CYCLE_MS = 180_000;

/** No fault begins in the last seconds: the faults under way end, and the remaining points are reached. */
const QUIET_MS = 25_000;

/** Each cycle has a calm, and then a storm that arms every point. Every kind of fault comes once, then kinds are drawn by weight. */
export function makeSchedule(seed: number, lengthMs: number): Item[] {
  const random = randomOf(seed, "schedule");
  const bag = kinds.flatMap((kind) => Array.from({ length: faults[kind].weight }, () => kind));
  const undrawn = random.shuffle(kinds.filter((kind) => calm.every(({ fault }) => fault !== kind)));
  const items: Item[] = [];
  for (let cycleMs = 0; cycleMs + CALM_MS < lengthMs - QUIET_MS; cycleMs += CYCLE_MS) {
    const fromMs = cycleMs + CALM_MS;
    const stormMs = Math.min(cycleMs + CYCLE_MS, lengthMs - QUIET_MS) - fromMs;
    const spread = (names: readonly Point[], share: number): Item[] =>
      random
        .shuffle(names)
        .map((point, i) => ({ atMs: fromMs + (stormMs * share * i) / names.length, point }));
    for (const { atMs, fault } of calm) items.push({ atMs: cycleMs + atMs, fault });
    items.push(...spread(slow, 0.9), ...spread(quick, 0.65));
    for (let atMs = 0; atMs < stormMs; atMs += random.between(2_800, 4_300)) {
      items.push({ atMs: fromMs + atMs, fault: undrawn.pop() ?? random.pick(bag) });
    }
  }
  return items.toSorted((a, b) => a.atMs - b.atMs);
}

/** Follows the schedule, and resolves when all its faults have ended. @throws the first error of a fault */
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
        : provoke(item.point, system, log);
    underWay.push(
      done.catch((error: unknown) => {
        failed ??= error;
      }),
    );
  }
  await Promise.all(underWay);
  if (failed !== null) throw failed;
}
