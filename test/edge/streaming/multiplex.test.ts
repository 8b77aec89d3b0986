import { expect, test } from "vitest";
import { multiplex } from "../../../edge/streaming/multiplex.ts";
import { RunId } from "../../../shared/contracts/ids.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const first = RunId.parse("run_00000000000a_1780499750067");
const second = RunId.parse("run_00000000000b_1780499750068");
const frame = (run: RunId, seq: number, rest: string) =>
  `id: ${run.slice(-13)}-${seq}\ndata: {"run_id":"${run}","seq":${seq},${rest}}\n\n`;
const wholeOf = (run: RunId, text: string) =>
  `retry: 1000\n\n${frame(run, 1, `"type":"step_start","step_name":"${text}"`)}: keepalive\n\n${frame(run, 2, '"type":"done"')}`;

/** A stream of these bytes in pieces of `size`. It then ends, or stays open. */
function inPieces(text: string, size: number, stays = false): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.subarray(at, (at += size)));
      else if (!stays) controller.close();
    },
  });
}

test("the frames of a run are the same, wherever the pieces of its stream are cut", async () => {
  const whole = wholeOf(first, "é");
  for (let size = 1; size <= whole.length; size++) {
    const text = await multiplex([{ run: first, after: 0, events: inPieces(whole, size) }]).text();
    expect(text).toBe(whole);
  }
});

// Fails when the stream goes on without the run: its viewer would hear of that run again only after the end of all others.
test("ends with a part that is cut off, also after an event with values that look like the end of a run", async () => {
  const cut = frame(first, 1, '"type":"orchestration_complete","final_state":{"a":{"type":"done"}}');
  const text = await multiplex([
    { run: first, after: 0, events: inPieces(cut, 16_384) },
    { run: second, after: 0, events: inPieces("retry: 1000\n\n", 16_384, true) },
  ]).text();
  expect(text).toContain('{"a":{"type":"done"}}');
});

// Fails when all pieces so far are searched again for each new one: this took 5 s, in which the edge served nobody else.
test("an event of 16 MiB in pieces of 16 KiB takes the time of its bytes", async () => {
  const events = inPieces(wholeOf(first, "x".repeat(16 * 1024 * 1024)), 16_384);
  const before = cpuMs();
  const { length } = await multiplex([{ run: first, after: 0, events }]).text();
  expect(length).toBeGreaterThan(16 * 1024 * 1024);
  expect(cpuMs() - before).toBeLessThan(2_000);
});
