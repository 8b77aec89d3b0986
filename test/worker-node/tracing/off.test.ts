import { expect, test } from "vitest";
import { startFleet } from "../../flow/fleet.ts";
import { startCollector } from "../../services/otlp/collector.ts";
import { workerSources } from "../../services/worker-process.ts";

const hook = new URL("fixtures/report-imports.mjs", import.meta.url).href;
const NODE_OPTIONS = `--import=${hook}`;

// Fails when a module of the SDK, of gRPC or of the conventions is imported where tracing is off.
test("a worker without OTLP_ENDPOINT loads nothing of OpenTelemetry or gRPC; one with it does", async () => {
  const collector = await startCollector();
  const fleet = await startFleet("short", workerSources);
  try {
    const off = await fleet.startWorker("off", { NODE_OPTIONS });
    await fleet.define({
      id: "orch",
      entry_step_id: "a",
      name: "orch",
      steps: [{ id: "a", name: "A", type: "llm", model: "demo/fast", prompt_template: "x" }],
    });
    expect((await fleet.ended(await fleet.run("orch"))).status).toBe("completed");
    expect(off.lines.filter(({ event }) => event === "imported")).toEqual([]);
    await off.stop();
    expect(collector.spans).toEqual([]);
    const traced = await fleet.startWorker("on", { NODE_OPTIONS, OTLP_ENDPOINT: collector.grpcUrl });
    expect(traced.lines.some(({ event }) => event === "imported")).toBe(true);
    // Also the spans that ended a moment before are sent by a worker that stops.
    const run = await fleet.run("orch");
    expect((await fleet.ended(run)).status).toBe("completed");
    expect(await traced.stop()).toBe(0);
    const names = collector.spans
      .filter((span) => span.attributes["synapse.run.id"] === run)
      .map(({ name }) => name);
    expect(names).toContain("process orch");
    // The run was accepted without a context: its trace begins with its execution.
    expect(collector.spans.find(({ name }) => name === "process orch")?.parentSpanId).toBe("");
  } finally {
    await fleet.close();
    collector.stop();
  }
});
