import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { newRunId } from "../../../shared/contracts/ids.ts";
import { frames, type EntryLines } from "../../../shared/events/lines.ts";
import type { LiveEntry } from "../../../shared/events/live.ts";
import { Viewer, type Position, type Send } from "../../../edge/streaming/viewer.ts";
import { inputs } from "../../services/inputs.ts";

const run = newRunId(1_780_499_750_067);

/**
 * The moves of a history, in any order. `commit` and `end` commit n events; the others deliver pages and live entries that are
 * in flight.
 */
type Move =
  | { do: "commit" | "end"; events: number }
  | { do: "receive" | "lose" | "repeat" | "request" | "reply" | "resync" | "check" | "fail" };

const moves = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant("commit" as const), events: fc.integer({ min: 1, max: 3 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant("end" as const), events: fc.integer({ min: 1, max: 3 }) }),
    },
    {
      weight: 12,
      arbitrary: fc.record({
        do: fc.constantFrom(
          "receive" as const,
          "receive",
          "receive",
          "lose",
          "repeat",
          "request",
          "request",
          "reply",
          "reply",
          "resync",
          "check",
          "fail",
        ),
      }),
    },
  ),
  { maxLength: 60 },
);

/** A run, its journal, its live stream and one viewer; `move` makes one step. */
class ViewerSimulation {
  readonly viewer: Viewer;
  readonly journal: EntryLines[] = [];
  readonly inFlight: LiveEntry[] = [];
  readonly sent: string[] = [];
  readonly received: LiveEntry[] = [];
  position: Position = { event_seq: 0, status: "running" };
  /** A page that was read and that the viewer has not taken yet. */
  page: { entries: EntryLines[]; position: Position } | null = null;

  constructor(after: number) {
    this.viewer = new Viewer(run, after);
  }

  move(move: Move, lossy: boolean): void {
    switch (move.do) {
      case "commit":
      case "end":
        return this.commit(move.events, move.do === "end");
      case "receive":
        return this.receive();
      case "lose":
        if (lossy) this.inFlight.shift();
        return;
      case "repeat": {
        const last = this.received.at(-1);
        if (last) this.take(this.viewer.receive(last));
        return;
      }
      case "request":
        return this.requestPage();
      case "reply":
        return this.deliverPage();
      case "resync":
        return this.viewer.resync();
      case "check":
        return this.viewer.check(this.position);
      case "fail":
        // A page could not be read: only a check or the next live entry makes the viewer read again.
        if (lossy && this.page === null) this.viewer.pageFailed();
    }
  }

  commit(events: number, ends: boolean): void {
    if (this.position.status !== "running") return;
    const seq = this.position.event_seq + events;
    const lines = Array.from(
      { length: events },
      (_, i) => `{"type":"x","n":${this.position.event_seq + i + 1}}`,
    );
    const entry = { seq, events_n: events, events: lines.join("\n") };
    this.journal.push(entry);
    this.inFlight.push({ ...entry, run, last: ends });
    this.position = { event_seq: seq, status: ends ? "completed" : "running" };
  }

  receive(): void {
    const entry = this.inFlight.shift();
    if (!entry) return;
    this.received.push(entry);
    this.take(this.viewer.receive(entry));
  }

  requestPage(): void {
    if (this.page !== null || this.viewer.mode !== "reading") return;
    this.viewer.startPage();
    const after = this.viewer.next - 1;
    this.page = {
      entries: this.journal.filter((entry) => entry.seq > after).slice(0, 2),
      position: this.position,
    };
  }

  deliverPage(): void {
    if (this.page === null) return;
    const { entries, position } = this.page;
    this.page = null;
    if (entries.length === 0) this.viewer.caughtUp(position);
    for (const entry of entries) {
      this.take({ entry, from: this.viewer.next });
      this.viewer.entrySent(entry);
    }
  }

  take(send: Send | null): void {
    if (send) this.sent.push(frames(run, send.entry, send.from));
  }

  /** Delivers all pages and live entries that are in flight. */
  deliverAll(): void {
    for (
      let i = 0;
      i < 1000 && (this.inFlight.length > 0 || this.page !== null || this.viewer.mode === "reading");
      i++
    ) {
      this.deliverPage();
      this.receive();
      this.requestPage();
    }
  }

  /** The bytes that the viewer must have been sent: those of the journal after `after`. */
  expected(after: number): string {
    return this.journal.map((entry) => (entry.seq > after ? frames(run, entry, after + 1) : "")).join("");
  }
}

describe("a viewer", () => {
  test("gets every event once, in order and byte for byte, whatever the order of pages and live entries", () => {
    fc.assert(
      fc.property(moves, fc.integer({ min: 0, max: 3 }), (history, after) => {
        const simulation = new ViewerSimulation(after);
        for (let i = 0; i < after; i++) simulation.commit(1, false);
        simulation.inFlight.length = 0;
        for (const move of history) {
          simulation.move(move, false);
          expect(simulation.expected(after).startsWith(simulation.sent.join(""))).toBe(true);
        }
        simulation.deliverAll();
        expect(simulation.sent.join("")).toBe(simulation.expected(after));
        expect(simulation.viewer.mode).toBe(simulation.position.status === "completed" ? "ended" : "live");
      }),
      { numRuns: inputs(600) },
    );
  }, 300_000);

  test("has every event after its next check when live entries were lost", () => {
    fc.assert(
      fc.property(moves, (history) => {
        const simulation = new ViewerSimulation(0);
        for (const move of history) {
          simulation.move(move, true);
          expect(simulation.expected(0).startsWith(simulation.sent.join(""))).toBe(true);
        }
        simulation.deliverAll();
        simulation.viewer.check(simulation.position);
        simulation.deliverAll();
        expect(simulation.sent.join("")).toBe(simulation.expected(0));
        expect(simulation.viewer.mode).toBe(simulation.position.status === "completed" ? "ended" : "live");
      }),
      { numRuns: inputs(600) },
    );
  }, 300_000);

  test("is not ended by a `done` of the journal that lies before a retry", () => {
    const viewer = new Viewer(run, 0);
    viewer.startPage();
    viewer.entrySent({ seq: 1, events_n: 1, events: '{"type":"done"}' });
    viewer.startPage();
    viewer.caughtUp({ event_seq: 1, status: "queued" });
    expect(viewer.mode).toBe("live");
  });

  test("reads another page when a live entry was received while an empty page was read", () => {
    const viewer = new Viewer(run, 0);
    viewer.startPage();
    expect(viewer.receive({ run, seq: 1, events_n: 1, events: "{}", last: false })).toBe(null);
    viewer.caughtUp({ event_seq: 0, status: "running" });
    expect(viewer.mode).toBe("reading");
  });

  test("ends when its run was deleted", () => {
    const viewer = new Viewer(run, 0);
    viewer.startPage();
    viewer.caughtUp(undefined);
    expect(viewer.mode).toBe("ended");
  });
});
