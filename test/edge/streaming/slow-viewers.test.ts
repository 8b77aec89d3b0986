/** Viewers that read slowly or not at all: how much memory they hold, and that other viewers do not wait for them. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { eventJson } from "../../../shared/events/lines.ts";
import type { EntryLines } from "../../../shared/events/lines.ts";
import { Turns } from "../../../edge/clients/turns.ts";
import { Relay } from "../../../edge/streaming/relay.ts";
import { slowPeer } from "../../services/waiting.ts";

const run = newRunId(1_780_499_750_067);
const KIB = 1024;
const line = (sizeBytes: number) => JSON.stringify({ type: "x", text: "x".repeat(sizeBytes) });

/**
 * A relay over a journal in memory, which fails while `journal.fails`. `reads`: the positions from which pages were read.
 * `checks`: the runs of each read of positions for all tenants.
 */
function relayOn(entries: EntryLines[], pageEntries = 4) {
  const reads: number[] = [];
  const checks: RunId[][] = [];
  const journal = { fails: false };
  const answer = async <Result>(result: Result) => {
    if (journal.fails) throw new Error("the database is away");
    return result;
  };
  const relay = new Relay({
    page: (_, after) => {
      reads.push(after);
      return answer(entries.filter(({ seq }) => seq > after).slice(0, pageEntries));
    },
    positions: (runs, tenant) => {
      if (tenant === undefined) checks.push(runs);
      const position = { event_seq: entries.at(-1)?.seq ?? 0, status: "running" } as const;
      return answer(new Map(runs.map((id) => [id, id === run ? position : { ...position, event_seq: 0 }])));
    },
  });
  /** Commits an event of `sizeBytes` and publishes it. */
  const commit = (sizeBytes: number, last = false) => {
    const entry = { seq: entries.length + 1, events_n: 1, events: line(sizeBytes) };
    entries.push(entry);
    relay.onEntry({ ...entry, run, last });
  };
  return { relay, entries, reads, checks, journal, commit };
}

function join(relay: Relay, after = 0) {
  const leaving = new AbortController();
  const ended = vi.fn<() => void>();
  const stream = relay.join({ run, tenant: "a", after }, leaving.signal, ended).body;
  return { reader: stream.pipeThrough(new TextDecoderStream()).getReader(), leaving, ended };
}

/** Reads until `events` events have come, or the stream ends. @returns their numbers */
async function take(reader: ReadableStreamDefaultReader<string>, events: number): Promise<number[]> {
  let text = "";
  const seqs = () => Array.from(text.matchAll(/^id: \d+-(\d+)\ndata: .*\n\n/gm), ([, seq]) => Number(seq));
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    text += read.value;
    if (seqs().length >= events) break;
  }
  return seqs();
}

/** Reads until one event is complete. */
async function readFrame(reader: ReadableStreamDefaultReader<string>): Promise<{ data: string | undefined }> {
  let text = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    text += read.value;
    const frame = /^id: .*\ndata: (.*)\n\n/m.exec(text);
    if (frame) return { data: frame[1] };
  }
  return { data: undefined };
}

/** Ends a stream, and counts the bytes that wait in it. */
async function heldBytes(stream: ReadableStream<Uint8Array>, leaving: AbortController): Promise<number> {
  leaving.abort();
  return (await new Response(stream).arrayBuffer()).byteLength;
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

afterEach(() => vi.restoreAllMocks());

describe("a viewer that takes nothing while its run goes on", () => {
  // Fails when a viewer with many unsent bytes is cut off: it would read only the first of these events.
  test("is not cut off, and gets every event once when it reads again", async () => {
    const { relay, commit } = relayOn([]);
    const slow = join(relay);
    await slowPeer(20);
    for (let i = 0; i < 100; i++) commit(10 * KIB);
    await slowPeer(20);
    expect(slow.ended).not.toHaveBeenCalled();
    expect(await take(slow.reader, 100)).toEqual(upTo(100));
    slow.leaving.abort();
  });

  // Fails when live entries wait in memory for such a viewer, or when the viewer holds a page that it does not read.
  test("holds at most 64 KiB of live entries and no page of the journal", async () => {
    const { relay, reads, commit } = relayOn([]);
    let unsentBytes = 0;
    vi.spyOn(TextEncoder.prototype, "encode").mockImplementation((text) => {
      const bytes = Uint8Array.from(Buffer.from(text ?? ""));
      unsentBytes += bytes.length;
      return bytes;
    });
    const slow = join(relay);
    await slowPeer(20);
    for (let i = 0; i < 100; i++) commit(10 * KIB);
    await slowPeer(20);
    expect(unsentBytes).toBeLessThan(90 * KIB);
    const before = reads.length;
    await slowPeer(400);
    expect(reads.length).toBe(before);
    slow.leaving.abort();
  });
});

// Fails when the bound on what a viewer holds does not depend on how many viewers an object has.
test("2,000 viewers that take nothing hold at most 24 KiB of live entries each", async () => {
  const { relay, commit } = relayOn([]);
  const leaving = new AbortController();
  const streams = Array.from(
    { length: 2_000 },
    () => relay.join({ run, tenant: "a", after: 0 }, leaving.signal, () => {}).body,
  );
  await slowPeer(50);
  for (let i = 0; i < 20; i++) commit(4 * KIB);
  const held = await Promise.all(streams.map((stream) => heldBytes(stream, leaving)));
  expect(Math.max(...held)).toBeLessThan(24 * KIB);
});

// Fails when each wait for room ends a timer of its own: workerd keeps each cleared timer for as long as the object lives.
test("a viewer that is slower than a long journal clears no timer", async () => {
  const { relay } = relayOn(upTo(12).map((seq) => ({ seq, events_n: 1, events: line(40 * KIB) })));
  const slow = join(relay);
  const clear = vi.spyOn(globalThis, "clearTimeout");
  expect(await take(slow.reader, 12)).toEqual(upTo(12));
  const cleared = clear.mock.calls.length;
  clear.mockRestore();
  slow.leaving.abort();
  expect(cleared).toBe(0);
});

test("a slow viewer of a long journal reads each page again from where it is, and gets every event once", async () => {
  const entries = upTo(12).map((seq) => ({ seq, events_n: 1, events: line(20 * KIB) }));
  const { relay, reads } = relayOn(entries);
  const slow = join(relay);
  await slowPeer(600);
  // Two or three events are on their way, and the rest of the page is dropped.
  expect(reads).toEqual([0]);
  expect(await take(slow.reader, 12)).toEqual(upTo(12));
  expect(reads[1]).toBeLessThan(4);
  slow.leaving.abort();
});

describe("a viewer that takes nothing of a large event of the journal", () => {
  const large = () => relayOn([{ seq: 1, events_n: 1, events: line(300 * KIB) }]);

  // Fails when an event is put into the stream whole.
  test("keeps 32 KiB of the event in memory, and gets the whole event when it reads again", async () => {
    const { relay, commit } = large();
    const leaving = new AbortController();
    const stream = relay.join({ run, tenant: "a", after: 0 }, leaving.signal, () => {}).body;
    await slowPeer(400);
    expect(await heldBytes(stream, leaving)).toBeLessThan(33 * KIB);
    const { reader } = join(relay);
    await slowPeer(400);
    commit(10);
    expect(await take(reader, 2)).toEqual([1, 2]);
  });

  // Fails when a comment or the event itself goes between two pieces of an event.
  test("gets its bytes in order although a keepalive is due, a read fails, and the event comes live", async () => {
    const { relay, entries, journal } = large();
    const { reader } = join(relay);
    await slowPeer(400);
    const reading = readFrame(reader);
    journal.fails = true;
    const now = vi.spyOn(Date, "now").mockReturnValue(Date.now() + 60_000);
    await slowPeer(50);
    relay.tick(true);
    for (const entry of entries) relay.onEntry({ ...entry, run, last: false });
    await slowPeer(20);
    journal.fails = false;
    now.mockReturnValue(Date.now() + 60_000);
    relay.tick(true);
    const { data } = await reading;
    expect(data).toBe(eventJson(run, 1, line(300 * KIB)));
  });
});

describe("a read of the journal that fails for one viewer", () => {
  // Fails when one viewer's read makes the relay check all viewers often.
  test("makes only this viewer read again soon", async () => {
    const { relay, checks, journal, entries } = relayOn([]);
    const other = newRunId(1_780_499_750_068);
    join(relay);
    const quiet = relay.join({ run: other, tenant: "b", after: 0 }, new AbortController().signal, () => {});
    await slowPeer(20);
    journal.fails = true;
    entries.push({ seq: 1, events_n: 1, events: line(1) });
    relay.onEntry({ run, seq: 2, events_n: 1, events: line(1), last: false });
    await slowPeer(20);
    journal.fails = false;
    vi.spyOn(Date, "now").mockReturnValue(Date.now() + 3_000);
    relay.tick(true);
    expect(checks).toEqual([[run]]);
    quiet.close();
  });
});

// With its last viewer, the relay object closes its connections to Postgres: the read that is under way fails.
test("a read that fails after its viewer has left is no error in the log", async () => {
  const page = Promise.withResolvers<EntryLines[]>();
  const relay = new Relay({ page: () => page.promise, positions: async () => new Map() });
  const viewer = join(relay);
  // The read begins before this: the reader has got the first bytes.
  await viewer.reader.read();
  const logged = vi.spyOn(console, "error").mockImplementation(() => {});
  viewer.leaving.abort();
  page.reject(new Error("the connection is closed"));
  await expect.poll(() => viewer.ended).toHaveBeenCalled();
  await new Promise((resolve) => setImmediate(resolve));
  expect(logged).not.toHaveBeenCalled();
});

describe("viewers of one run", () => {
  test("do not wait for a viewer that takes nothing", async () => {
    const { relay, commit } = relayOn([]);
    const [slow, quick] = [join(relay), join(relay)];
    await slowPeer(20);
    for (let i = 1; i <= 50; i++) {
      commit(20 * KIB);
      expect(await take(quick.reader, 1)).toEqual([i]);
    }
    slow.leaving.abort();
    quick.leaving.abort();
  });

  // Fails when the frames of a live entry are written for each of its viewers.
  test("share the bytes of each live entry", async () => {
    const { relay, commit } = relayOn([]);
    const viewers = Array.from({ length: 50 }, () => join(relay));
    await slowPeer(20);
    const encoding = vi.spyOn(TextEncoder.prototype, "encode");
    commit(100);
    expect(encoding).toHaveBeenCalledTimes(1);
    for (const { reader, leaving } of viewers) {
      expect(await take(reader, 1)).toEqual([1]);
      leaving.abort();
    }
  });
});

// Fails when the reads of all viewers wait in one line.
test("a tenant with hundreds of viewers lets another's viewer read after a turn for each of its reads", async () => {
  const turns = new Turns(1);
  const reads: string[] = [];
  const read = <Result>(tenant: string, result: Result) =>
    turns.take(
      async () => {
        reads.push(tenant);
        await new Promise((resolve) => setImmediate(resolve));
        return result;
      },
      { tenant, bytes: 0 },
    );
  const relay = new Relay({
    page: (_, __, tenant) => read(tenant, []),
    positions: (runs, tenant = "") =>
      read(tenant, new Map(runs.map((id) => [id, { event_seq: 0, status: "completed" }]))),
  });
  const view = (tenant: string) =>
    new Response(relay.join({ run, tenant, after: 0 }, new AbortController().signal, () => {}).body).text();
  const crowd = Array.from({ length: 300 }, () => view("loud"));
  await view("quiet");
  // Its page and its position: one read is under way at first, and then they alternate.
  expect(reads.filter((tenant) => tenant === "quiet")).toHaveLength(2);
  expect(reads.lastIndexOf("quiet")).toBeLessThan(6);
  await Promise.all(crowd);
  expect(reads).toHaveLength(602);
});

describe("a viewer that takes a large event in pieces", () => {
  test("gets it whole", async () => {
    const { relay, commit } = relayOn([]);
    const viewer = join(relay);
    await slowPeer(20);
    commit(300 * KIB);
    expect(await take(viewer.reader, 1)).toEqual([1]);
    viewer.leaving.abort();
  });
});
