import { z } from "zod";
import { RunId, TenantId } from "../contracts/ids.ts";
import { LANE_DEFAULTS, burstOf } from "../contracts/lane-settings.ts";
import type { LaneSettings } from "../contracts/lane-settings.ts";
import { Lane } from "../contracts/run.ts";
import { readJobNames } from "./job.ts";
import type { JobName } from "./job.ts";

/** How many runs of a tenant the claiming worker executes in a lane. */
export type HeldRuns = { tenant: TenantId; lane: Lane; count: number };

/**
 * How tenants share a worker. `open`, `openLanes`: how many of its free slots, and of those of each lane, any tenant may take. The
 * others are spare: only a tenant with fewer runs in the worker (`held`) than slots are free there may take one.
 */
export type Shares = {
  open: number;
  openLanes: Partial<Record<Lane, number>>;
  held: readonly HeldRuns[];
};

/** The settings of a lane that decide which jobs a claim takes. */
export type LaneRule = Pick<LaneSettings, "weight" | "starts_per_second">;

/**
 * `slots`: how many jobs a worker may take; `lanes`: how many of each lane; `shares`: of which tenants; `rules`: those of the lanes.
 * Without them lanes have their default weights and no rates.
 */
export type Room = {
  slots: number;
  lanes: Partial<Record<Lane, number>>;
  shares?: Shares;
  rules?: Partial<Record<Lane, LaneRule>>;
};

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
 * - `roomy`: the tenants of `runs` that now use at most an eighth of their slots. Their ended runs need not be finished soon.
 * - `nextMs`: the time until the next job is due or the next lease lapses, at most 60 s.
 * - `stillReady`: how many jobs of the shard remain ready. A worker that got fewer jobs than it asked for may not take them:
 *   their tenants have no free slot or are at their share of the worker, or the worker does not serve their lanes.
 */
export type Claim = {
  runs: JobName[];
  excess: RunId[];
  roomy: TenantId[];
  nextMs: number;
  stillReady: number;
};

const ClaimReply = z.tuple([z.number(), z.number(), z.array(RunId), z.array(TenantId)]).rest(z.string());

/**
 * The arguments of claim.lua. A tenant's jobs are on one shard, so each of `shards` shards has an equal part of a lane's rate and burst.
 */
export function claimArgs(request: ClaimRequest, shards: number): string[] {
  const { owner, leaseMs, slots, lanes, shares, ended, rules } = request;
  const { open, openLanes, held } = shares ?? { open: slots, openLanes: lanes, held: [] };
  const ruleOf = (lane: Lane): LaneRule =>
    rules?.[lane] ?? { weight: LANE_DEFAULTS[lane].weight, starts_per_second: null };
  // A lane with a rate is named without room too: the claim wakes no worker for it while it may start nothing.
  const named = Lane.options.filter(
    (lane) => (lanes[lane] ?? 0) > 0 || ruleOf(lane).starts_per_second !== null,
  );
  return [
    owner,
    String(leaseMs),
    String(slots),
    String(open),
    String(ended.length),
    ...ended,
    String(held.length),
    ...held.flatMap(({ tenant, lane, count }) => [tenant, lane, String(count)]),
    ...named.flatMap((lane) => [
      lane,
      String(Math.max(0, lanes[lane] ?? 0)),
      String(openLanes[lane] ?? 0),
      String(ruleOf(lane).weight),
      ...rateArgs(ruleOf(lane), shards),
    ]),
  ];
}

/** The rate in millionths of a start in a second, and the burst in billionths of a start; 0 and 0: there is no rate. */
function rateArgs({ starts_per_second: rate }: LaneRule, shards: number): [rate: string, burst: string] {
  if (rate === null) return ["0", "0"];
  const ofShard = rate / shards;
  return [String(Math.max(1, Math.floor(ofShard * 1e6))), String(Math.floor(burstOf(ofShard) * 1e9))];
}

/** Reads the reply of claim.lua. */
export function readClaim(reply: unknown): Claim {
  const [nextMs, stillReady, excess, roomy, ...names] = ClaimReply.parse(reply);
  return { runs: readJobNames(names), excess, roomy, nextMs, stillReady };
}
