import { z } from "zod";
import { Lane } from "../contracts/run.ts";

/** The numbers of a shard's jobs in each state, of the tenants with limits there, and of the ready jobs in each lane. */
export type QueueStats = {
  reserved: number;
  ready: number;
  due: number;
  timer: number;
  leased: number;
  tenants: number;
  lanes: Record<Lane, { ready: number }>;
};

/** The counts that a tenant's limits are compared with. */
export type TenantQueueStats = { active: number; queuedOrReserved: number };

const Counts = z.array(z.coerce.number());
const LaneStats = z.record(Lane, z.object({ ready: z.number() }));

/** Reads the reply of stats.lua for a shard. */
export function readStats(reply: unknown): QueueStats {
  const [reserved = 0, ready = 0, due = 0, timer = 0, leased = 0, tenants = 0, ...perLane] =
    Counts.parse(reply);
  const lanes = LaneStats.parse(
    Object.fromEntries(Lane.options.map((lane, i) => [lane, { ready: perLane[i] ?? 0 }])),
  );
  return { reserved, ready, due, timer, leased, tenants, lanes };
}

/** Reads the reply of stats.lua for a tenant. */
export function readTenantStats(reply: unknown): TenantQueueStats {
  const [active = 0, queuedOrReserved = 0] = Counts.parse(reply);
  return { active, queuedOrReserved };
}
