import { expect, test } from "vitest";
import { cpuMs } from "../../services/cpu-time.ts";
import { EventReader, valuesIn } from "../../../worker-node/models/event-stream.ts";

const PIECE = "x".repeat(64 * 1024);

// Fails when a line is read again with each piece of it: one answer of 16 MB then stops the worker's thread for ten seconds.
test("the time for one long line is linear in its length, whatever its pieces are", () => {
  const startedAt = cpuMs();
  const reader = new EventReader();
  reader.push("data: ");
  const piece = PIECE.slice(0, 1024);
  for (let chars = 0; chars < 12_000_000; chars += piece.length) expect(reader.push(piece)).toEqual([]);
  expect(reader.push("\n\n")[0]?.data.length).toBeGreaterThanOrEqual(12_000_000);
  expect(cpuMs() - startedAt).toBeLessThan(4_000);
});

// Fails when each empty line parses all garbage before it again: an answer of 2 MB then stops the worker's thread for seconds.
test("the time for garbage between events is linear in its length", () => {
  const timeOf = (body: string): number => {
    const startedAt = cpuMs();
    const reader = new EventReader();
    reader.push(body);
    reader.end();
    return cpuMs() - startedAt;
  };
  const garbage = `${"[0] ".repeat(100)}\n\n`;
  timeOf(garbage.repeat(100));
  expect(timeOf(garbage.repeat(4_000))).toBeLessThan(timeOf(`data: ${garbage}`.repeat(4_000)) + 1_000);
});

test("a long page of JSON with empty lines in it is found at the end of the body at the latest", () => {
  const reader = new EventReader();
  reader.push("[\n");
  for (let n = 0; n < 200; n++) expect(reader.push(`"${"x".repeat(4_000)}",\n\n`)).toEqual([]);
  const [page, ...others] = [...reader.push("1]\n\n"), ...reader.end()];
  expect(page?.data).toHaveLength(2 + 200 * 4_004 + 2);
  expect(others).toEqual([]);
});

test.each<[string, string]>([
  ["a line", PIECE],
  ["the lines of one event", `data: ${PIECE}\n`],
  ["a body of comments", `: ${PIECE}\n\n`],
])("%s that does not end is given up", (_, piece) => {
  const reader = new EventReader();
  const push = () => {
    for (let n = 0; n < 3_000; n++) reader.push(piece);
  };
  expect(push).toThrow("the stream of the answer is too long");
});

test.each(["\n", "\r\n", "\r"])(
  "events are found wherever a piece ends, with lines that end in %j",
  (end) => {
    const body = ["data: one", "", ": c", "event: e", "data: two", "data: 2", "", ""].join(end);
    for (let at = 0; at <= body.length; at++) {
      const reader = new EventReader();
      const events = [body.slice(0, at), body.slice(at)].flatMap((piece) => reader.push(piece));
      expect([...events, ...reader.end()]).toEqual([
        { name: undefined, data: "one" },
        { name: "e", data: "two\n2" },
      ]);
    }
  },
);

test("values in a row are read, and none of a text that has anything else beside them", () => {
  expect(valuesIn('{"a":1}\n{"b":"}{"} [{"c":3}]')).toEqual([{ a: 1 }, { b: "}{" }, { c: 3 }]);
  for (const text of ['{"a":1} and {"b":2}', '{"a":1}{"b":', "", "hello"])
    expect(valuesIn(text)).toBeUndefined();
});
