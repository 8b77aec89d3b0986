/** The places between two lines of a worker at which it can be made to die, and how many of them have been reached. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Name → where the worker dies. Every one of them is reached at least once in a run. */
export const points = {
  claimed_in_redis: "after the claim in Redis, before the claim in Postgres",
  claimed_in_postgres: "after the claim in Postgres, before its answer is heard",
  claimed_directly: "after a claim straight from Postgres, before its answer is heard",
  before_flush: "before a flush",
  turn_committed: "after the commit of a turn inside a step",
  committed_unheard: "after the commit of a flush, before its answer is heard",
  committed_unshown: "after the commit of a flush, before its XADD",
  ended_unfinished: "after the commit of an end, before `finish`",
  parked_unreleased: "after the commit of a park, before `release`",
  handed_back_unreleased: "after the commit of a hand back, before `release`",
  beat: "after a beat's commit, before its answer is heard",
  renewed: "after the renewal of leases, before its answer is heard",
  rebuild_reset: "in a rebuild, after the reset, before what runs is held",
  rebuild_unbegun: "in a rebuild, after what runs was held and the limits pushed, before the index begins",
  walk_page: "in a walk, after a page of due runs was read and before it is enqueued",
  walk_shown: "in a walk, after its page was enqueued and before `upto` is raised",
} as const;
export type Point = keyof typeof points;

export const pointNames = Object.keys(points).filter(isPoint);

function isPoint(name: string): name is Point {
  return Object.hasOwn(points, name);
}

/** Variable that names the folder in which points are armed. */
export const POINTS_FOLDER = "CHAOS_POINTS";

/**
 * Dies here if the point is armed. A file is what is armed, and taking it away is what fires: of all workers that come
 * by, exactly one dies.
 */
export function dieAt(folder: string, point: Point): void {
  try {
    renameSync(join(folder, `${point}.armed`), join(folder, `${point}.${process.pid}.hit`));
  } catch {
    return; // not armed
  }
  process.kill(process.pid, "SIGKILL");
}

/** The points of one run. */
export class Points {
  readonly folder: string;
  #armed = 0;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  arm(point: Point): void {
    this.#armed += 1;
    writeFileSync(join(this.folder, `${point}.armed`), String(this.#armed));
  }

  isArmed(point: Point): boolean {
    return existsSync(join(this.folder, `${point}.armed`));
  }

  /** What nobody has come by is not armed any more. */
  disarm(): void {
    for (const point of pointNames) rmSync(join(this.folder, `${point}.armed`), { force: true });
  }

  /** Who died where, with the time of the clock. */
  hits(): { point: Point; pid: number; atMs: number }[] {
    return readdirSync(this.folder).flatMap((name) => {
      const [point = "", pid, ending] = name.split(".");
      if (ending !== "hit" || !isPoint(point)) return [];
      return [{ point, pid: Number(pid), atMs: statSync(join(this.folder, name)).ctimeMs }];
    });
  }
}
