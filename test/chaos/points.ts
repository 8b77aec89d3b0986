/** The points in the code at which a worker or the edge can be made to die, and which of them were reached. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Name → the place in the code at which a worker dies. */
const workerPoints = {
  claimed_in_redis: "after the claim in Redis, before the claim in Postgres",
  claimed_in_postgres: "after the claim in Postgres, before its reply",
  claimed_directly: "after a direct claim from Postgres, before its reply",
  before_flush: "before a flush",
  turn_committed: "after the commit of a turn inside a step",
  committed_reply_lost: "after the commit of a flush, before its reply",
  committed_unpublished: "after the commit of a flush, before its XADD",
  ended_unfinished: "after the commit of an end, before `finish`",
  parked_unreleased: "after the commit of a park, before `release`",
  drained_unreturned: "in a drain, after the runs were stopped and before they are handed back",
  handed_back_unreleased: "after the commit of a hand-back, before `release`",
  beat: "after the commit of a beat, before its reply",
  renewed: "after the renewal of leases, before its reply",
  rebuild_reset: "in a rebuild, after the reset, before leases are restored",
  rebuild_unbegun: "in a rebuild, after leases were restored and limits pushed, before the index begins",
  delivery_claimed: "after the claim of deliveries, before they are sent",
  delivery_unsaved: "after a receiver has accepted a delivery, before its outcome is saved",
  scan_page: "in a scan, after a page of due runs was read and before it is enqueued",
  scan_enqueued: "in a scan, after its page was enqueued and before `upto` is raised",
} as const;
export type WorkerPoint = keyof typeof workerPoints;

/** Name → the place in the code at which the edge dies. */
const edgePoints = {
  admitted: "in an accept, after `admit` and before the commit",
  accept_reply_lost: "in an accept, after the commit and before the 202",
  accepted_unqueued: "in an accept or a client's retry, after the response and before `enqueue`",
  answer_uncommitted: "in an answer to a question, before its commit",
  answer_reply_lost: "in an answer to a question, after its commit and before its response",
  cancel_unpublished: "in a cancel or a client's retry, after the commit and before it is published",
} as const;
export type EdgePoint = keyof typeof edgePoints;

/** Each point is reached at least once in a run. */
export const points = { ...workerPoints, ...edgePoints } as const;
export type Point = keyof typeof points;

export const pointNames = Object.keys(points).filter(isPoint);
export const edgePointNames = pointNames.filter(isEdgePoint);

function isPoint(name: string): name is Point {
  return Object.hasOwn(points, name);
}

function isEdgePoint(name: string): name is EdgePoint {
  return Object.hasOwn(edgePoints, name);
}

/** The environment variable with the folder in which points are armed. */
export const POINTS_FOLDER = "CHAOS_POINTS";

/**
 * Takes an armed point. A file stands for it, and only one process can rename it: of all that reach the point exactly one
 * dies.
 * @returns whether the calling process took it, and has to die
 */
export function takePoint(folder: string, point: Point): boolean {
  try {
    renameSync(join(folder, `${point}.armed`), join(folder, `${point}.${Date.now()}.hit`));
    return true;
  } catch {
    return false;
  }
}

/** The points of one run. */
export class Points {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  arm(point: Point): void {
    writeFileSync(join(this.folder, `${point}.armed`), "");
  }

  take(point: Point): boolean {
    return takePoint(this.folder, point);
  }

  isArmed(point: Point): boolean {
    return existsSync(join(this.folder, `${point}.armed`));
  }

  /** Disarms all points. */
  disarm(): void {
    for (const point of pointNames) rmSync(join(this.folder, `${point}.armed`), { force: true });
  }

  /** The points that were taken, with the time of this machine's clock. */
  hits(): { point: Point; atMs: number }[] {
    return readdirSync(this.folder).flatMap((name) => {
      const [point = "", atMs, ending] = name.split(".");
      return ending === "hit" && isPoint(point) ? [{ point, atMs: Number(atMs) }] : [];
    });
  }
}
