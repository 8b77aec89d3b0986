import { expect, test } from "vitest";
import { SpanBuffer } from "../../../shared/tracing/span-buffer.ts";
import { waitBeforeRetryMs } from "../../../shared/tracing/export-outcome.ts";
import { endSpans } from "../../services/otlp/spans.ts";

test("spans over the bound are dropped and counted, and those that wait stay", () => {
  const buffer = new SpanBuffer();
  endSpans(buffer, 20_050);
  expect(buffer.size).toBe(20_000);
  expect(buffer.takeDropped()).toBe(50);
  expect(buffer.takeDropped()).toBe(0);
  expect(buffer.take()[0]?.span.name).toBe("span 0");
});

test("the bound counts bytes too, also after a batch was put back", () => {
  const buffer = new SpanBuffer();
  endSpans(buffer, 400, "x".repeat(60_000));
  const kept = buffer.size;
  expect(kept).toBeLessThan(280);
  expect(kept + buffer.takeDropped()).toBe(400);
  const batch = buffer.take();
  endSpans(buffer, batch.length, "x".repeat(60_000));
  buffer.putBack(batch);
  expect(buffer.size).toBeLessThanOrEqual(kept);
  expect(buffer.takeDropped()).toBe(batch.length);
  expect(buffer.take()[0]?.span.name).toBe("span 0");
});

test("a batch has at most 512 spans and 1 MiB, and they come in the order in which they ended", () => {
  const many = new SpanBuffer();
  endSpans(many, 1_000);
  expect(many.take()).toHaveLength(512);
  expect(many.take()[0]?.span.name).toBe("span 512");
  const large = new SpanBuffer();
  endSpans(large, 40, "x".repeat(60_000));
  expect(large.take().length).toBeLessThan(18);
});

test("the wait before a retry is the collector's own, at most 5 minutes, else it grows to half a minute", () => {
  expect(waitBeforeRetryMs(12_000, 1, () => 0.5)).toBe(12_000);
  expect(waitBeforeRetryMs(3_600_000, 1, () => 0.5)).toBe(300_000);
  expect([1, 2, 3, 20].map((failures) => waitBeforeRetryMs(null, failures, () => 0.5))).toEqual([
    500, 1_000, 2_000, 30_000,
  ]);
});
