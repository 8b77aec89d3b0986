import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, ForkRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { NewArtifact } from "../../shared/store/files/new-artifact.ts";
import type { LongWait } from "./execution-state.ts";

/** The result of a visit: its checkpoint, and the events, charges and files that are committed with it. */
export type Result = {
  checkpoint: Checkpoint;
  events: readonly RunEvent[];
  usage: readonly Usage[];
  /** The files that the visit has written since its last turn. */
  artifacts?: readonly NewArtifact[];
  response: Json | undefined;
};

/** How a try that did not fail ended. */
export type Tried = ({ is: "result" } & Result) | Forked | LongWait;

/** The visit divides its track. */
export type Forked = { is: "forked"; in: ForkRecord["in"]; count: number; events: readonly RunEvent[] };

/** The visit failed for good. */
export type FailedVisit = {
  is: "failed";
  error: { code: string; message: string };
  tries: number;
  firstFailedAt: string | null;
  cause: unknown;
  usage: readonly Usage[];
};

/** How a visit of a step ended: with a result, with tracks of its own, with a wait, or in failure. */
export type Visited = Tried | FailedVisit;
