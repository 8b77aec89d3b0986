import { describe, expect, test } from "vitest";
import { RunId } from "../../../shared/contracts/ids.ts";
import {
  eventId,
  frames,
  joinLines,
  linesOf,
  readPosition,
  writeLine,
  writeLines,
} from "../../../shared/events/lines.ts";
import { readLive, xaddArgs } from "../../../shared/events/live.ts";
import { ANY_LINE_END } from "../../services/any-line.ts";

const run = RunId.parse("run_2483e1773407_1780499750067");
const line = (text: string) => writeLine({ type: "llm_delta", orch_step_id: "a", text }, new Date(0), "c");
const entry = { seq: 5, events_n: 3, events: [line("x"), line("y"), line("z")].join("\n") };

describe("an event", () => {
  test("is one line, whatever text it holds", () => {
    for (const text of ["a\nb\r\nc", "\u0000", "\u2028", "\ud800", 'q"\\']) {
      const written = line(text);
      expect(written).not.toMatch(/[\n\r]/);
      expect(JSON.parse(written)).toEqual({
        type: "llm_delta",
        orch_step_id: "a",
        text,
        ts: "1970-01-01T00:00:00.000Z",
        correlation_id: "c",
      });
    }
  });

  test("is the same line when it is written with others", () => {
    const events = [
      { type: "checkpoint" as const },
      { type: "llm_delta" as const, orch_step_id: "a", text: "}" },
    ];
    const ts = new Date("2026-06-04T09:15:30.123Z");
    expect(writeLines(events, ts, 'c"\n')).toEqual(events.map((event) => writeLine(event, ts, 'c"\n')));
    expect(JSON.parse(writeLines(events, ts, 'c"\n')[1] ?? "")).toEqual({
      ...events[1],
      ts: ts.toISOString(),
      correlation_id: 'c"\n',
    });
  });

  test("has an id of its run's base and its number", () => {
    expect(eventId(run, 7)).toBe("1780499750067-7");
  });
});

describe("short lines", () => {
  const lineAt = (ms: number, text: string, correlation = "c") =>
    writeLine(
      { type: "tool_result", orch_step_id: "a", step_name: "A", tool_name: "t", preview: text },
      new Date(ms),
      correlation,
    );
  const done = writeLine({ type: "done" }, new Date(7), "c");
  const tricky = [
    lineAt(1, "x"),
    lineAt(1, ',"ts":"'),
    lineAt(2, "y,"),
    lineAt(2, "}"),
    done,
    lineAt(7, "last,\n"),
  ];

  test("hold what they share once, and are read as they were written", () => {
    const short = joinLines(tricky, "short");
    expect(linesOf(short)).toEqual(tricky);
    // Lines 1 and 2, 3 and 4, 5 and 6 have a time each.
    expect(short.match(/"correlation_id":"c"/g)).toHaveLength(3);
    expect(frames(run, { ...entry, events_n: 6, seq: 6, events: short })).toBe(
      frames(run, { ...entry, events_n: 6, seq: 6, events: tricky.join("\n") }),
    );
  });

  // Fails when the last line of an entry depends on what follows: a live entry joins the lines of several journal entries.
  test("are read the same when entries are joined, also with entries of a version that wrote none", () => {
    const short = joinLines(tricky, "short");
    const full = joinLines(tricky, "complete");
    expect(linesOf([short, full, short].join("\n"))).toEqual([...tricky, ...tricky, ...tricky]);
    expect(linesOf(full)).toEqual(tricky);
  });

  test("take the end of their own run, whatever its correlation id is", () => {
    const lines = [lineAt(1, "a", 'q"},'), lineAt(1, "b", 'q"},')];
    const short = joinLines(lines, "short");
    expect(short.length).toBeLessThan(lines.join("\n").length);
    expect(linesOf(short)).toEqual(lines);
  });
});

describe("the frames of an entry", () => {
  test("have the numbers up to the entry's own, and the same bytes for every viewer", () => {
    const text = frames(run, entry);
    expect(text.match(/^id: .*$/gm)).toEqual([3, 4, 5].map((seq) => `id: 1780499750067-${seq}`));
    expect(text.startsWith(`id: 1780499750067-3\ndata: {"run_id":"${run}","seq":3,"type":"llm_delta",`)).toBe(
      true,
    );
    expect(text.endsWith("}\n\n")).toBe(true);
    for (const data of text.match(/^data: .*$/gm) ?? [])
      expect(() => JSON.parse(data.slice(6))).not.toThrow();
  });

  // The seed's Python snippet reads lines with httpx, which also ends them at these characters.
  test("have lines that end at line feeds alone, also for clients that end lines at Unicode's separators", () => {
    const text = "a\u0085b\u2028c\u2029d\u000b\u001c";
    const whole = frames(run, { seq: 1, events_n: 1, events: line(text) });
    const [id, data, ...rest] = whole.split(ANY_LINE_END);
    expect([id, ...rest]).toEqual([`id: ${eventId(run, 1)}`, "", ""]);
    expect(JSON.parse(data?.slice("data: ".length) ?? "")).toMatchObject({ text });
  });

  // Fails when a viewer gets an event twice, or misses one.
  test("begin at the requested number", () => {
    expect(frames(run, entry, 5)).toBe(frames(run, entry).split("\n\n")[2] + "\n\n");
    expect(frames(run, entry, 3)).toBe(frames(run, entry));
    expect(frames(run, entry, 6)).toBe("");
  });
});

test.each([
  [undefined, 0],
  ["", 0],
  ["0", 0],
  ["0-0", 0],
  ["1780499750067-0", 0],
  ["1780499750067-12", 12],
  ["1780499750068-12", null],
  ["1780499750067", null],
  ["1780499750067--1", null],
  ["1780499750067-1.5", null],
  ["1780499750067-1 ", null],
  ["1780499750067-9999999999", null],
  ["x", null],
])("the Last-Event-ID %s is the position %s", (id, position) => {
  expect(readPosition(run, id)).toBe(position);
});

test("a live entry is read as it was written; other fields are no entry", () => {
  const live = { ...entry, run, last: true };
  const [, , , , , ...fields] = xaddArgs("{e0}:live", live);
  expect(readLive(fields)).toEqual(live);
  expect(readLive([])).toBeNull();
  expect(readLive(["r", "nobody", "s", "1", "n", "1", "e", "{}", "l", "0"])).toBeNull();
});
