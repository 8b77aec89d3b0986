import type { Context } from "hono";
import { z } from "zod";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import { log, messageOf } from "../../shared/log.ts";
import { readRunEntries } from "./run-journal.ts";
import type { JournalStores } from "./run-journal.ts";
import type { FoundRun } from "../../shared/store/runs/read-runs.ts";
import { hasWorkerFor } from "../../shared/store/workers/worker-rows.ts";
import type { ApiEnv } from "../http/api.ts";
import { toAppError } from "../http/problem.ts";
import type { Services } from "../services.ts";
import { pause } from "../http/pause.ts";
import { Event, eventsOf } from "./listed-events.ts";
import { RunResult, resultOf } from "./run-result.ts";
import { endedRun } from "./ended-run.ts";

/** White space at this interval keeps proxies from closing the response while the run goes on. JSON allows it before a value. */
const WHITE_SPACE_MS = 15_000;
/** Proxies pass the white space on as it comes. Otherwise nginx keeps it back until the end, and so does HAProxy while it compresses. */
const HEADERS = {
  "content-type": "application/json",
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
};
/** The pause after a read that failed. */
const RETRY_MS = 1_000;
/** The most entries of a page of events. */
const PAGE_ENTRIES = 200;

/** The body of the response to a held request. */
export const HeldResult = RunResult.and(
  z.object({
    turn_id: z.string().optional().meta({ description: "Of a chat turn: the same as `run_id`" }),
    events: z.array(Event).meta({ description: "All events of the run, as its stream has them" }),
  }),
).meta({ id: "HeldResult" });

/**
 * Refuses, with scale mode off, a run whose lane no worker serves: the caller would wait for its end in vain. Call it before the run
 * is submitted. @throws AppError `no_worker`
 */
export async function requireWorker({ config, sql }: Services, lane: Lane): Promise<void> {
  if (config.SCALE_MODE || (await hasWorkerFor(sql, lane))) return;
  throw new AppError("no_worker", `No worker with the lane ${lane} is online, and scale mode is off.`, {
    retryAfterSeconds: 5,
  });
}

/**
 * The response of a request while scale mode is off: 200 at once, white space while the run goes on, and at the run's end its result
 * with its events, also when it has failed. There is no time limit. The run does not depend on the response: when the caller leaves,
 * the run goes on.
 */
export function heldResponse(c: Context<ApiEnv>, run: RunId, more: { turn_id?: string }): Response {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const left = new AbortController();
  writer.closed.catch(() => left.abort());
  const signal = AbortSignal.any([c.req.raw.signal, left.signal]);
  c.get("services").waitUntil(write(c, run, more, writer, signal));
  return new Response(readable, { status: 200, headers: HEADERS });
}

async function write(
  c: Context<ApiEnv>,
  run: RunId,
  more: { turn_id?: string },
  writer: WritableStreamDefaultWriter<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const services = c.get("services");
  const bytes = new TextEncoder();
  const timer = setInterval(() => void writer.write(bytes.encode(" ")).catch(() => {}), WHITE_SPACE_MS);
  try {
    const row = await untilRead(signal, () => endedRun(c, run, signal));
    if (row === null) return;
    const result = await untilRead(signal, () => resultOf(services, row));
    clearInterval(timer);
    // The closing brace of the object is cut off, so that one more field can follow.
    await writer.write(bytes.encode(`${JSON.stringify({ ...result, ...more }).slice(0, -1)},"events":[`));
    for await (const text of eventTexts(services, row, signal)) await writer.write(bytes.encode(text));
    await writer.write(bytes.encode("]}"));
    await writer.close();
  } catch (error) {
    if (!signal.aborted) log.warn("run.hold_failed", { run, message: messageOf(error) });
    // The response is cut without its last bytes, so that no client takes it for complete.
    await writer.abort(error).catch(() => {});
  } finally {
    clearInterval(timer);
  }
}

/** The events of a run that has ended, as parts of a JSON list without its brackets. One page is in memory at a time. */
async function* eventTexts(stores: JournalStores, { run_id, event_seq }: FoundRun, signal: AbortSignal) {
  for (let after = 0; after < event_seq;) {
    const entries = await untilRead(signal, () => readRunEntries(stores, run_id, after, PAGE_ENTRIES));
    const events = entries
      .flatMap((entry) => eventsOf(run_id, entry))
      .filter(({ event }) => event.seq > after);
    const texts = events.map(({ event }) => JSON.stringify(event)).join(",");
    if (texts !== "") yield after === 0 ? texts : `,${texts}`;
    const last = events.at(-1);
    if (!last) return;
    after = last.event.seq;
  }
}

/**
 * Repeats a read while a store is away or no seat is free. The response has begun, so it cannot state such an error in its status.
 * @throws the error of `read` when the caller has left, and an error that a repetition does not cure
 */
async function untilRead<Result>(signal: AbortSignal, read: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await read();
    } catch (error) {
      if (signal.aborted || ![429, 503].includes(toAppError(error).status)) throw error;
      log.warn("run.hold_read_failed", { message: messageOf(error) });
      await pause(RETRY_MS, signal);
    }
  }
}
