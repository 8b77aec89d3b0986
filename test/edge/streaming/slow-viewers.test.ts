/** Viewers that take their bytes slowly or not at all: what they hold, and that others do not wait for them. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { EntryLines } from "../../../shared/events/lines.ts";
import { Turns } from "../../../edge/clients/turns.ts";
import { Relay } from "../../../edge/streaming/relay.ts";
import { slowPeer } from "../../services/waiting.ts";

const run = newRunId(1_780_499_750_067);
const KIB = 1024;
const line = (sizeBytes: number) => JSON.stringify({ type: "x", text: "x".repeat(sizeBytes) });

/** A relay over a journal in memory. `reads`: the positions from which pages were read. */
function relayOn(entries: EntryLines[], pageEntries = 4) {
  const reads: number[] = [];
  const relay = new Relay({
    page: async (_, after) => {
      reads.push(after);
      return entries.filter(({ seq }) => seq > after).slice(0, pageEntries);
    },
    positions: async () => new Map([[run, { event_seq: entries.at(-1)?.seq ?? 0, status: "running" }]]),
  });
  /** Commits an event of `sizeBytes` and publishes it. */
  const commit = (sizeBytes: number, last = false) => {
    const entry = { seq: entries.length + 1, events_n: 1, events: line(sizeBytes) };
    entries.push(entry);
    relay.onEntry({ ...entry, run, last });
  };
  return { relay, reads, commit };
}

function join(relay: Relay, after = 0) {
  const leaving = new AbortController();
  const ended = vi.fn<() => void>();
  const stream = relay.join({ run, tenant: "a", after }, leaving.signal, ended);
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

  // Fails when live entries wait for it in memory, or when it holds a page of the journal that it does not take.
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

describe("viewers of one run", () => {
  test("do not wait for one that takes nothing", async () => {
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
    new Response(relay.join({ run, tenant, after: 0 }, new AbortController().signal, () => {})).text();
  const loud = Array.from({ length: 300 }, () => view("loud"));
  await view("quiet");
  // Its page and its position: one read is under way at first, and then they alternate.
  expect(reads.filter((tenant) => tenant === "quiet")).toHaveLength(2);
  expect(reads.lastIndexOf("quiet")).toBeLessThan(6);
  await Promise.all(loud);
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
