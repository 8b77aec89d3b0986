import { z } from "zod";
import { RunId } from "../contracts/ids.ts";
import type { TenantId } from "../contracts/ids.ts";
import { LANES, Lane } from "../contracts/run.ts";
import { readJobNames } from "./job.ts";
import type { JobName } from "./job.ts";

/** How many runs of a tenant a worker holds in a lane. */
export type HeldRuns = { tenant: TenantId; lane: Lane; count: number };

/**
 * How tenants share a worker. `open`, `openLanes`: how many of its slots, and of those of each lane, any tenant may take; the
 * others are spare: for tenants that hold fewer runs (`held`) in it than slots are free.
 */
export type Shares = { open: number; openLanes: Partial<Record<Lane, number>>; held: readonly HeldRuns[] };

/** `slots`: how many jobs a worker may take; `lanes`: how many of each lane; `shares`: of which tenants. */
export type Room = { slots: number; lanes: Partial<Record<Lane, number>>; shares?: Shares };

/** `ended`: runs of the worker that have ended. Without `shares` all slots are open. */
export type ClaimRequest = Room & {
  shard: number;
  owner: string;
  leaseMs: number;
  ended: readonly RunId[];
};

/**
 * The queue's reply to a claim.
 * - `excess`: those of `runs` whose lease had lapsed while their tenant had more leases than slots. The worker may claim such a
 *   run only if Postgres calls it running already: then it takes a slot in any case.
 * - `nextMs`: the time until the next job is due or the next lease lapses, at most 60 s.
 * - `stillReady`: how many jobs of the shard remain ready. A worker that got fewer jobs than it asked for may not take them:
 *   their tenants have no free slot or are at their share of the worker, or the worker does not serve their lanes.
 */
export type Claim = { runs: JobName[]; excess: RunId[]; nextMs: number; stillReady: number };

const ClaimReply = z.tuple([z.number(), z.number(), z.array(RunId)]).rest(z.string());

/** The arguments of claim.lua. */
export function claimArgs({ owner, leaseMs, slots, lanes, shares, ended }: ClaimRequest): string[] {
  const { open, openLanes, held } = shares ?? { open: slots, openLanes: lanes, held: [] };
  const lanesWithRoom = Lane.options.filter((lane) => (lanes[lane] ?? 0) > 0);
  return [
    owner,
    String(leaseMs),
    String(slots),
    String(open),
    String(ended.length),
    ...ended,
    String(held.length),
    ...held.flatMap(({ tenant, lane, count }) => [tenant, lane, String(count)]),
    ...lanesWithRoom.flatMap((lane) => [
      lane,
      String(lanes[lane] ?? 0),
      String(openLanes[lane] ?? 0),
      String(LANES[lane].weight),
    ]),
  ];
}

/** Reads the reply of claim.lua. */
export function readClaim(reply: unknown): Claim {
  const [nextMs, stillReady, excess, ...names] = ClaimReply.parse(reply);
  return { runs: readJobNames(names), excess, nextMs, stillReady };
}
