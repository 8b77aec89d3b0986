/** The points of the edge. Code inside workerd cannot be armed, so the edge's links find a point by the bytes that pass. */
import { setTimeout as sleep } from "node:timers/promises";
import { scripts } from "../../shared/queue/scripts.ts";
import type { FaultLog } from "./fault-log.ts";
import { exclusively, isOccupied, logged } from "./faults.ts";
import type { Trap } from "./link.ts";
import { edgePointNames } from "./points.ts";
import type { EdgePoint } from "./points.ts";
import type { System } from "./system.ts";

/** `within`: part of the bytes that are lost. `afterMs`: from the loss to the death of the edge. */
type Place = { link: string; request: string; lost: Trap["lost"]; within: string; afterMs: number };

/** Only the statement of an accept has runs as JSON, each with its request's hash. */
export const ACCEPT = `"request_hash":`;
/** Only the statement of an answer has a client's text. */
export const ANSWER = `"signed":"answer-`;
/** A request with several commands to Redis: entries for viewers, hints for workers. */
const PUBLISH = "POST /pipeline ";

/**
 * Sets a trap on the edge's links for each point of the edge. Postgres replies to a statement after its commit, so a lost
 * reply is that of a commit.
 * @returns the restarts of the edge, added as they happen; a restart rejects when the edge does not come back
 */
export async function setTraps(system: System, log: FaultLog): Promise<Promise<void>[]> {
  const accept = { link: "edge-postgres", request: ACCEPT, afterMs: 0 };
  const answer = { link: "edge-postgres", request: ANSWER, afterMs: 0 };
  const enqueue = await scripts.enqueue.sha;
  const places: Record<EdgePoint, Place> = {
    admitted: { ...accept, lost: "request", within: ACCEPT },
    // The reply to an accept that made no run, because its key is taken, has no run id.
    accept_reply_lost: { ...accept, lost: "response", within: "run_" },
    // The 202 is sent at the same moment, and has arrived 50 ms later.
    accepted_unqueued: { link: "edge-rest", request: enqueue, lost: "request", within: "run_", afterMs: 50 },
    answer_uncommitted: { ...answer, lost: "request", within: ANSWER },
    // The reply to an answer that came second has no run id.
    answer_reply_lost: { ...answer, lost: "response", within: "run_" },
    cancel_unpublished: { link: "edge-rest", request: PUBLISH, lost: "request", within: PUBLISH, afterMs: 0 },
  };
  const restarts: Promise<void>[] = [];
  const { edge, links, points } = system;
  for (const point of edgePointNames) {
    const { link: name, request, lost, within, afterMs } = places[point];
    const spring = (bytes: Buffer): boolean => {
      if (!bytes.includes(within) || isOccupied(edge) || !points.take(point)) return false;
      const restart = exclusively(edge, () =>
        logged(log, "edge_restart", `at ${point}`, false, async () => {
          await sleep(afterMs);
          await edge.restart(0, "SIGKILL");
        }),
      );
      restart.catch(() => {}); // it is awaited at the end
      restarts.push(restart);
      return true;
    };
    links.find((link) => link.name === name)?.traps.push({ request, lost, spring });
  }
  return restarts;
}
