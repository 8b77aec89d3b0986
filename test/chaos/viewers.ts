/** Viewers of runs: early and late ones, which lose their connection and reconnect, and one that reads each run at the end. */
import { setTimeout as sleep } from "node:timers/promises";
import { EventSourceParserStream } from "eventsource-parser/stream";
import type { Api } from "./api.ts";
import type { Viewing } from "./evidence.ts";
import type { Random } from "./random.ts";

const PAUSE_MS = 400;
/** A few hundred runs at rest take a second or two. */
const READ_ALL_MS = 60_000;

/** Called for every frame when it arrives: the run, and the number of the event. */
type FrameListener = (run: string, seq: number) => void;

export class Viewers {
  readonly seen: Viewing[] = [];
  readonly #api: Api;
  readonly #random: Random;
  readonly #onFrame: FrameListener;
  readonly #ending = new AbortController();
  readonly #watching: Promise<void>[] = [];

  constructor(api: Api, random: Random, onFrame: FrameListener) {
    this.#api = api;
    this.#random = random;
    this.#onFrame = onFrame;
  }

  /** Draws viewers for a run that was accepted: some watch from the beginning, some join later. */
  maybeWatch(run: string): void {
    if (this.#random.chance(0.3)) this.#watching.push(this.#watch(run, "early", 0));
    if (this.#random.chance(0.15))
      this.#watching.push(this.#watch(run, "late", this.#random.between(1_000, 8_000)));
  }

  /** Ends all viewers that still watch: the streams of their runs have not ended. */
  async leave(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#watching);
  }

  /** Reads each run from the first event to the last, a few at a time. */
  async readAll(runs: readonly string[]): Promise<void> {
    const unread = [...runs];
    const late = AbortSignal.timeout(READ_ALL_MS);
    const readRuns = async (): Promise<void> => {
      for (let run = unread.pop(); run !== undefined; run = unread.pop()) {
        const viewing: Viewing = { run, viewer: "final", frames: [], complete: false };
        this.seen.push(viewing);
        for (let tries = 0; tries < 5 && !viewing.complete && !late.aborted; tries++) {
          await this.#connect(viewing, AbortSignal.any([late, AbortSignal.timeout(15_000)]));
        }
      }
    };
    await Promise.all(Array.from({ length: 8 }, readRuns));
  }

  async #watch(run: string, viewer: string, afterMs: number): Promise<void> {
    const viewing: Viewing = { run, viewer, frames: [], complete: false };
    this.seen.push(viewing);
    await sleep(afterMs, undefined, { signal: this.#ending.signal }).catch(() => {});
    while (!viewing.complete && !this.#ending.signal.aborted) {
      // Half of the connections are closed by the viewer; the others stay until the edge or a fault ends them.
      const openMs = this.#random.chance(0.5) ? this.#random.between(200, 6_000) : 300_000;
      await this.#connect(
        viewing,
        AbortSignal.any([this.#ending.signal, AbortSignal.timeout(Math.ceil(openMs))]),
      );
      await sleep(viewing.complete ? 0 : PAUSE_MS);
    }
  }

  /** One connection, from after the last frame until it ends. */
  async #connect(viewing: Viewing, signal: AbortSignal): Promise<void> {
    const last = viewing.frames.at(-1)?.id;
    try {
      const answer = await fetch(`${this.#api.base}/api/v2/orchestrations/runs/${viewing.run}/stream`, {
        headers: {
          authorization: this.#api.authorization,
          ...(last !== undefined && { "last-event-id": last }),
        },
        signal,
      });
      if (answer.status === 204) viewing.complete = true;
      if (answer.status !== 200 || answer.body === null) return;
      const events = answer.body
        .pipeThrough(new TextDecoderStream())
        .pipeThrough(new EventSourceParserStream());
      for await (const { id = "", data } of events) {
        viewing.frames.push({ id, data });
        this.#onFrame(viewing.run, Number(id.split("-")[1]));
      }
      // The stream ends after the last `done`; a run that is retried later has more.
      viewing.complete ||= viewing.frames.at(-1)?.data.includes('"type":"done"') ?? false;
    } catch {
      // The connection was lost or closed: the next one sends the id of the last event.
    }
  }
}
