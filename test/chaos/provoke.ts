/** Makes the system reach the points of points.ts, so that no point depends on chance. */
import type { Sql } from "../../shared/store/sql.ts";
import type { FaultLog } from "./fault-log.ts";
import { flushRedis, setLinks, logged } from "./faults.ts";
import type { Link } from "./link.ts";
import { pointNames } from "./points.ts";
import type { Point } from "./points.ts";
import type { System } from "./system.ts";
import { waitAtMost } from "./wait-at-most.ts";

/** Causes once the situation in which a worker reaches the point; ends when `isReached`. */
type Provocation = (system: System, log: FaultLog, isReached: () => boolean) => Promise<void>;

/** For points that the load does not reach by itself every few seconds. */
const provocations: Partial<Record<Point, Provocation>> = {
  claimed_directly: cutRedisOff,
  drained_unreturned: drainBusiest,
  handed_back_unreleased: drainBusiest,
  rebuild_reset: emptyRedis,
  rebuild_unbegun: emptyRedis,
  scan_page: emptyRedis,
  scan_enqueued: emptyRedis,
};

/** The reconciler passes every 5 s, workers beat and renew oftener, and the load causes all other situations. */
const PATIENCE_MS = 9_000;
const ROUNDS = 4;

/** Arms a point and causes its situation once. When another fault prevents it, the point stays armed. */
export async function provoke(point: Point, system: System, log: FaultLog): Promise<void> {
  system.points.arm(point);
  await reach(point, system, log);
}

/**
 * After the last fault: causes the situation of each point that was not reached yet, one at a time and without other
 * faults, for some rounds. A point that is not reached then shows a defect.
 */
export async function reachRemaining(system: System, sql: Sql, log: FaultLog): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    for (const point of pointNames) {
      if (!system.points.isArmed(point)) continue;
      // A dead reconciler's lock lasts 15 s. That wait was part of the faults before; here it is skipped.
      await sql`delete from locks where name = 'reconciler'`;
      await reach(point, system, log);
    }
  }
}

async function reach(point: Point, system: System, log: FaultLog): Promise<void> {
  const isReached = (): boolean => !system.points.isArmed(point);
  await provocations[point]?.(system, log, isReached);
  await waitAtMost(PATIENCE_MS, isReached);
}

/** Direct claims begin when the beats of all live workers report Redis unreachable; a dead worker's beat counts until it is silent. */
const DIRECT_MS = 25_000;

async function cutRedisOff({ links }: System, log: FaultLog, isReached: () => boolean): Promise<void> {
  await setLinks(links.filter(isToRedis), "cut", DIRECT_MS, log, isReached);
}

/** A scan enqueues runs that have been due for 2 s: those that are accepted while no worker can claim. */
const UNCLAIMED_MS = 3_500;

async function emptyRedis(system: System, log: FaultLog): Promise<void> {
  await Promise.all([
    setLinks(system.links.filter(isToRedis), "cut", UNCLAIMED_MS, log),
    flushRedis(system, log),
  ]);
}

function isToRedis({ name }: Link): boolean {
  return /^worker-\d-redis$/.test(name);
}

async function drainBusiest({ workers }: System, log: FaultLog): Promise<void> {
  await waitAtMost(PATIENCE_MS, () => workers.some(({ alive, active }) => alive && active > 0));
  const [busiest] = workers.filter(({ alive }) => alive).toSorted((a, b) => b.active - a.active);
  if (busiest) await logged(log, "drain", busiest.name, false, () => busiest.drain());
}
