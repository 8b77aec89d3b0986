/** The places between two lines at which a worker or the edge can be made to die, and which of them were reached. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Name → where a worker dies. */
const workerPoints = {
  claimed_in_redis: "after the claim in Redis, before the claim in Postgres",
  claimed_in_postgres: "after the claim in Postgres, before its answer is heard",
  claimed_directly: "after a claim straight from Postgres, before its answer is heard",
  before_flush: "before a flush",
  turn_committed: "after the commit of a turn inside a step",
  committed_unheard: "after the commit of a flush, before its answer is heard",
  committed_unshown: "after the commit of a flush, before its XADD",
  ended_unfinished: "after the commit of an end, before `finish`",
  parked_unreleased: "after the commit of a park, before `release`",
  drained_unreturned: "in a drain, after its runs were stopped and before they are handed back",
  handed_back_unreleased: "after the commit of a hand back, before `release`",
  beat: "after a beat's commit, before its answer is heard",
  renewed: "after the renewal of leases, before its answer is heard",
  rebuild_reset: "in a rebuild, after the reset, before what runs is held",
  rebuild_unbegun: "in a rebuild, after what runs was held and the limits pushed, before the index begins",
  delivery_claimed: "after the claim of deliveries, before they are sent",
  delivery_unsaved: "after a receiver has taken a delivery, before that is written",
  walk_page: "in a walk, after a page of due runs was read and before it is enqueued",
  walk_shown: "in a walk, after its page was enqueued and before `upto` is raised",
} as const;
export type WorkerPoint = keyof typeof workerPoints;

/** Name → where the edge dies. */
const edgePoints = {
  admitted: "in an accept, after `admit` and before the commit",
  committed_unsaid: "in an accept, after the commit and before the 202",
  accepted_unqueued: "in an accept or a client's retry, after the answer and before `enqueue`",
  unanswered: "in an answer, before its commit",
  answered_unsaid: "in an answer, after its commit and before anybody hears of it",
  cancelled_untold: "in a cancel or a client's retry, after the commit, before anybody hears of it",
} as const;
export type EdgePoint = keyof typeof edgePoints;

/** Every one of them is reached at least once in a run. */
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

/** Variable that names the folder in which points are armed. */
export const POINTS_FOLDER = "CHAOS_POINTS";

/**
 * Is the point armed? Then it is not any more: a file is what is armed, and taking it away is what fires, so of all
 * that come by exactly one has to die.
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

  /** What nobody has come by is not armed any more. */
  disarm(): void {
    for (const point of pointNames) rmSync(join(this.folder, `${point}.armed`), { force: true });
  }

  /** Where somebody died, and when by the clock of this machine. */
  hits(): { point: Point; atMs: number }[] {
    return readdirSync(this.folder).flatMap((name) => {
      const [point = "", atMs, ending] = name.split(".");
      return ending === "hit" && isPoint(point) ? [{ point, atMs: Number(atMs) }] : [];
    });
  }
}
