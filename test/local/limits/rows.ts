/** Every limit of a tenant, of money, of lanes and of providers. */
import type { Clients } from "./clients.ts";
import { fileRows } from "./file-rows.ts";
import { laneRows } from "./lane-rows.ts";
import type { MailPeer } from "./mail-peer.ts";
import { mailRows } from "./mail-rows.ts";
import type { LimitRow } from "./limit-row.ts";
import { moneyRows } from "./money-rows.ts";
import type { Peer } from "./peer.ts";
import { providerRows } from "./provider-rows.ts";
import { rateRows } from "./rate-rows.ts";
import { runRows } from "./run-rows.ts";
import { streamRows } from "./stream-rows.ts";

/**
 * The names of the rows: a test needs them before the system has started. The rows of one list share a lane, so that only one of
 * them can be flooded at a time. The first lists take longest.
 */
export const LIMITS = [
  ["runs_per_minute"],
  ["max_concurrent of a provider's model"],
  ["requests_per_minute of a provider's model"],
  ["tokens_per_minute of a provider's model"],
  ["slots of the lane webhooks", "starts_per_second of the lane webhooks"],
  ["slots of the lane mail", "starts_per_second of the lane mail"],
  ["slots of a lane"],
  ["starts_per_second of a lane"],
  ["max_queued_runs"],
  ["max_concurrent_runs"],
  ["one turn of a chat session"],
  ["one run of a singleton key"],
  ["requests_per_second"],
  ["max_open_streams"],
  ["max_total_artifact_bytes, uploads"],
  ["max_total_artifact_bytes, files of runs"],
  ["a budget"],
  ["a budget of each end user"],
  ["max_total_cost_usd of a run and the runs that it starts"],
];

export function limitRows(clients: Clients, peer: Peer, mailPeer: MailPeer): LimitRow[] {
  return [
    ...runRows(clients, peer),
    ...rateRows(clients),
    ...streamRows(clients),
    ...fileRows(clients),
    ...moneyRows(clients),
    ...laneRows(clients, peer),
    ...mailRows(clients, mailPeer),
    ...providerRows(clients, peer),
  ];
}
