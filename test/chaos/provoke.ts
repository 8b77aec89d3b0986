/** Leads the system through the points at which somebody dies, so that none of them is left to chance. */
import type { Sql } from "../../shared/store/sql.ts";
import type { FaultLog } from "./fault-log.ts";
import { flushRedis, setLinks, logged } from "./faults.ts";
import type { Link } from "./link.ts";
import { pointNames } from "./points.ts";
import type { Point } from "./points.ts";
import type { System } from "./system.ts";
import { until } from "./until.ts";

/** Brings about once what leads through a point. `isReached`: there is no need to go on. */
type Provocation = (system: System, log: FaultLog, isReached: () => boolean) => Promise<void>;

/** Not here: what the load passes by itself, every few seconds, as long as all is well. */
const provocations: Partial<Record<Point, Provocation>> = {
  claimed_directly: cutRedisOff,
  drained_unreturned: drainBusiest,
  handed_back_unreleased: drainBusiest,
  rebuild_reset: emptyRedis,
  rebuild_unbegun: emptyRedis,
  walk_page: emptyRedis,
  walk_shown: emptyRedis,
};

/** The reconciler passes every 5 s, workers beat and renew every 5 s, and the load brings what else is needed. */
const PATIENCE_MS = 9_000;
const ROUNDS = 4;

/** Arms a point and goes its way once; it stays armed when something else is in the way at this moment. */
export async function provoke(point: Point, system: System, log: FaultLog): Promise<void> {
  system.points.arm(point);
  await leadThrough(point, system, log);
}

/**
 * After the last fault: goes the way of each point that nobody has come by yet, one at a time, while all else is well,
 * and again, so that only a system that does not do what it should can miss one.
 */
export async function reachRemaining(system: System, sql: Sql, log: FaultLog): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    for (const point of pointNames) {
      if (!system.points.isArmed(point)) continue;
      // The 15 s for which a dead reconciler's lock stays behind were lived through before, among the faults.
      await sql`delete from locks where name = 'reconciler'`;
      await leadThrough(point, system, log);
    }
  }
}

async function leadThrough(point: Point, system: System, log: FaultLog): Promise<void> {
  const isReached = (): boolean => !system.points.isArmed(point);
  await provocations[point]?.(system, log, isReached);
  await until(isReached, PATIENCE_MS);
}

/** Beats tell that no worker reaches Redis, and those of workers that have died are forgotten after 12 s. */
const DIRECT_MS = 25_000;

async function cutRedisOff({ links }: System, log: FaultLog, isReached: () => boolean): Promise<void> {
  await setLinks(links.filter(isToRedis), "cut", DIRECT_MS, log, isReached);
}

/** A walk shows what has been due for 2 s: what comes while nobody can claim. */
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
  await until(() => workers.some(({ alive, active }) => alive && active > 0), PATIENCE_MS);
  const [busiest] = workers.filter(({ alive }) => alive).toSorted((a, b) => b.active - a.active);
  if (busiest) await logged(log, "drain", busiest.name, false, () => busiest.drain());
}
