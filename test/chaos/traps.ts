/** Where the edge dies: nothing inside workerd can be armed, so its links know the place by what it asks through them. */
import { setTimeout as sleep } from "node:timers/promises";
import { scripts } from "../../shared/queue/scripts.ts";
import type { FaultLog } from "./fault-log.ts";
import { exclusively, isOccupied, logged } from "./faults.ts";
import type { Trap } from "./link.ts";
import { edgePointNames } from "./points.ts";
import type { EdgePoint } from "./points.ts";
import type { System } from "./system.ts";

/** `said`: what is in the bytes that are lost. `afterMs`: from their loss to the death. */
type Place = { link: string; asked: string; lost: Trap["lost"]; said: string; afterMs: number };

/** Only the statement of an accept is given runs as JSON, with the hash of each request. */
export const ACCEPT = `"request_hash":`;
/** Of all that the edge says to Postgres only an answer holds what its client wrote. */
export const ANSWER = `"signed":"answer-`;
/** Commands to Redis in one request: entries for viewers, hints for workers. */
const TELL = "POST /pipeline ";

/**
 * Lays a trap on the edge's links for each of its points. Postgres answers a statement when it is committed, so an
 * answer that is lost is that of a commit.
 * @returns the restarts that this leads to, as they come; each rejects when the edge did not come back
 */
export async function setTraps(system: System, log: FaultLog): Promise<Promise<void>[]> {
  const accept = { link: "edge-postgres", asked: ACCEPT, afterMs: 0 };
  const answer = { link: "edge-postgres", asked: ANSWER, afterMs: 0 };
  const enqueue = await scripts.enqueue.sha;
  const places: Record<EdgePoint, Place> = {
    admitted: { ...accept, lost: "question", said: ACCEPT },
    // A statement that made no run, because another has its key, says none.
    committed_unsaid: { ...accept, lost: "answer", said: "run_" },
    // The 202 leaves in the same moment, and has arrived by then.
    accepted_unqueued: { link: "edge-rest", asked: enqueue, lost: "question", said: "run_", afterMs: 50 },
    unanswered: { ...answer, lost: "question", said: ANSWER },
    // An answer that another was faster than makes no run go on.
    answered_unsaid: { ...answer, lost: "answer", said: "run_" },
    cancelled_untold: { link: "edge-rest", asked: TELL, lost: "question", said: TELL, afterMs: 0 },
  };
  const restarts: Promise<void>[] = [];
  const { edge, links, points } = system;
  for (const point of edgePointNames) {
    const { link: name, asked, lost, said, afterMs } = places[point];
    const spring = (bytes: Buffer): boolean => {
      if (!bytes.includes(said) || isOccupied(edge) || !points.take(point)) return false;
      const restart = exclusively(edge, () =>
        logged(log, "edge_restart", `at ${point}`, false, async () => {
          await sleep(afterMs);
          await edge.restart(0, "SIGKILL");
        }),
      );
      restart.catch(() => {}); // it is awaited in the end
      restarts.push(restart);
      return true;
    };
    links.find((link) => link.name === name)?.traps.push({ request: asked, lost, spring });
  }
  return restarts;
}
