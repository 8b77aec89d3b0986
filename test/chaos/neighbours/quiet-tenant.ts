/**
 * The clients of the quiet tenant. They start runs at a steady pace, as long as few of them have not ended, watch each run to its
 * end on its stream, watch the tenant's feed, and poll statuses. No request is repeated: a response that is not a success is an error.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { z } from "zod";
import type { Api } from "../api.ts";
import type { Measured } from "./bounds.ts";
import { quietWork } from "./definitions.ts";

const PERIOD_MS = 400;
/**
 * No more than the tenant's share of the workers' 40 slots while the ten hostile tenants that start runs hold all they may: what
 * a tenant has beyond its share waits, and how much that is depends on how long the machine takes for a run.
 */
const MOST_RUNS = 3;
/** A run has seconds of work at most; a run that takes longer does not move. */
const RUN_MS = 45_000;

const Accepted = z.object({ run_id: z.string(), stream_url: z.string() });
const Status = z.object({ status: z.string() });
const Event = z.looseObject({ type: z.string(), seq: z.number(), status: z.string().optional() });
const FeedEvent = z.looseObject({ type: z.string(), run_id: z.string() });

type Samples = Omit<Measured, "pickupsMs">;

export class QuietTenant {
  readonly #api: Api;
  readonly #ending = new AbortController();
  /** Runs whose end the feed has shown. */
  readonly #endsInFeed = new Set<string>();
  readonly #feedErrors: string[] = [];
  #feed: Promise<void> | null = null;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Opens the tenant's feed, which stays open until `leave`. */
  watchFeed(): void {
    this.#feed = this.#readFeed();
  }

  /** Starts runs for `forMs`, and waits for the end of each. */
  async work(forMs: number): Promise<Samples> {
    const samples: Samples = { postsMs: [], statusesMs: [], runsMs: [], runs: [], errors: [], lost: [] };
    const working = new Set<Promise<void>>();
    const endMs = performance.now() + forMs;
    for (let number = 0; performance.now() < endMs; number++) {
      const runToEnd = this.#runOne(number, samples).finally(() => working.delete(runToEnd));
      working.add(runToEnd);
      await sleep(PERIOD_MS);
      if (working.size >= MOST_RUNS) await Promise.race(working);
    }
    await Promise.all(working);
    return samples;
  }

  /** Closes the feed. @returns what was wrong with it; of the runs each end must have been shown */
  async leave(runs: readonly string[]): Promise<string[]> {
    const missing = () => runs.filter((run) => !this.#endsInFeed.has(run));
    for (let tries = 0; missing().length > 0 && tries < 100; tries++) await sleep(100);
    this.#ending.abort();
    await this.#feed;
    return [...this.#feedErrors, ...missing().map((run) => `the feed did not show the end of ${run}`)];
  }

  async #runOne(number: number, samples: Samples): Promise<void> {
    const sentMs = performance.now();
    const path = `/api/v2/orchestrations/${quietWork.id}/run`;
    const posted = await this.#api.call("POST", path, { message: `work ${number}` });
    samples.postsMs.push(performance.now() - sentMs);
    if (posted.status !== 202) {
      samples.errors.push(`POST: ${posted.status} ${JSON.stringify(posted.body)}`);
      return;
    }
    const { run_id: run, stream_url } = Accepted.parse(posted.body);
    samples.runs.push(run);
    const watching = this.#watch(stream_url);
    await this.#poll(run, samples);
    const problem = await watching;
    samples.runsMs.push(performance.now() - sentMs);
    if (problem !== null) samples.errors.push(`the stream of ${run}: ${problem}`);
    const status = await this.#poll(run, samples);
    if (status !== "completed") samples.lost.push(`${run} is ${status}`);
  }

  async #poll(run: string, samples: Samples): Promise<string> {
    const sentMs = performance.now();
    const { status, body } = await this.#api.call("GET", `/api/v2/orchestrations/runs/${run}/status`);
    samples.statusesMs.push(performance.now() - sentMs);
    if (status === 200) return Status.parse(body).status;
    samples.errors.push(`GET …/status: ${status} ${JSON.stringify(body)}`);
    return "unknown";
  }

  /** Reads a run's stream to its end. @returns what was wrong with it */
  async #watch(path: string): Promise<string | null> {
    let last = 0;
    let type = "nothing";
    try {
      for await (const data of this.#events(path, AbortSignal.timeout(RUN_MS))) {
        const event = Event.parse(JSON.parse(data));
        if (event.seq !== last + 1) return `after event ${last} came ${event.seq}`;
        [last, type] = [event.seq, event.type];
      }
    } catch (error) {
      return `after event ${last}: ${String(error)}`;
    }
    return type === "done" ? null : `it ended after event ${last}, ${type}`;
  }

  async #readFeed(): Promise<void> {
    try {
      for await (const data of this.#events("/api/v2/events/stream", this.#ending.signal)) {
        const { type, run_id } = FeedEvent.parse(JSON.parse(data));
        if (type === "done") this.#endsInFeed.add(run_id);
      }
      this.#feedErrors.push("the edge ended the feed");
    } catch (error) {
      if (!this.#ending.signal.aborted) this.#feedErrors.push(`the feed: ${String(error)}`);
    }
  }

  async *#events(path: string, signal: AbortSignal): AsyncGenerator<string> {
    const headers = { authorization: this.#api.authorization };
    const answer = await fetch(this.#api.base + path, { headers, signal });
    if (answer.status !== 200 || answer.body === null) throw new Error(`GET ${path}: ${answer.status}`);
    const events = answer.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream());
    for await (const { data } of events) yield data;
  }
}
