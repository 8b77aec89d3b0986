/** A history: random requests and faults, then the end of all faults, then the checks of the system at rest. */
import fc from "fast-check";
import { vi } from "vitest";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { Repairs } from "../../worker-node/reconciler/reconciler-deps.ts";
import { CHAOS_MS, anyCommand, describe, mayExceedLimits, schedule } from "./commands.ts";
import type { Command } from "./commands.ts";
import { START_MS, stubGlobals } from "./clock.ts";
import { strayJobs, violationsAtRest } from "./invariants.ts";
import { traceLogs } from "./traced-log.ts";
import { orchestrationOf } from "./orchestrations.ts";
import { Simulation, realParts } from "./simulation.ts";
import type { Parts, SimulationOptions } from "./simulation.ts";

export type History = {
  seed: number;
  workers: number;
  slots: number;
  limit: number;
  queued: number;
  commands: Command[];
};

export const anyHistory: fc.Arbitrary<History> = fc.record({
  seed: fc.nat(),
  workers: fc.integer({ min: 2, max: 3 }),
  slots: fc.integer({ min: 1, max: 4 }),
  limit: fc.constantFrom(1, 2, 2, 10),
  queued: fc.constantFrom(2, 100, 100),
  commands: fc.array(anyCommand, { minLength: 4, maxLength: 18 }),
});

/** The longest time until the reconciler repairs a run that nothing else moves. */
const REPAIR_MS = 60_000;

/** The longest wait for room of a parent whose tenant had no slots when it asked (docs/protocol.md 5.15): no limit that is raised ends it. */
const DISABLED_MS = 90_000;

/** Every request that was under way at the end of the faults has committed by then, or never will. */
const REQUEST_MS = 20_000;

export type Ended = { violations: string[]; restMs: number; repairs: Repairs[]; lines: string[] };

/** Plays a history. @param traced fills `lines` with everything that happens */
export async function play(history: History, parts: Parts = realParts, traced = false): Promise<Ended> {
  const limitsHold = !mayExceedLimits(history.commands);
  const lines: string[] = [];
  return withSimulation({ ...history, limitsHold }, parts, async (sim) => {
    if (traced) sim.onEvent = (line) => lines.push(line);
    for (const each of history.commands) schedule(sim, each);
    sim.supervise();
    await sim.clock.run(START_MS + CHAOS_MS);
    heal(sim);
    const healedAtMs = sim.clock.nowMs;
    await sim.clock.run(healedAtMs + REQUEST_MS, () => isAtRest(sim));
    const mayWait = history.commands.some((each) => each.do === "limit" && each.to === 0);
    const waitMs = mayWait ? DISABLED_MS : 0;
    await sim.clock.run(healedAtMs + REPAIR_MS + waitMs + workOf(sim), () => isAtRest(sim));
    const restMs = sim.clock.nowMs - healedAtMs;
    const violations = [...sim.auditor.violations, ...(await violationsAtRest(sim))];
    return { violations, restMs, repairs: sim.workers.map(({ reconciler }) => reconciler.repairs), lines };
  });
}

/** Calls `act` with a new simulation, and undoes its changes to globals afterwards. */
export async function withSimulation<Result>(
  options: SimulationOptions,
  parts: Parts,
  act: (sim: Simulation) => Promise<Result>,
): Promise<Result> {
  const sim = new Simulation(options, parts);
  stubGlobals(sim.clock, sim.random);
  traceLogs(sim);
  try {
    sim.start();
    return await act(sim);
  } finally {
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  }
}

function heal(sim: Simulation): void {
  sim.trace("HEAL");
  sim.redisService.isUp = true;
  sim.postgresService.isUp = true;
  sim.network.heal();
  for (const { process } of sim.alive) process.thaw();
  keepTenantsEnabled(sim);
}

/** Raises a limit of 0 to 1 every second: the runs of a tenant without a slot would wait for ever, and a late request may set 0. */
function keepTenantsEnabled(sim: Simulation): void {
  for (const { tenant_id, max_concurrent_runs } of sim.postgres.tables.tenants.values()) {
    if (max_concurrent_runs === 0) sim.edge.setLimit(tenant_id, 1);
  }
  sim.clock.after(1_000, () => keepTenantsEnabled(sim));
}

/** The time of all open runs one after the other, as a tenant may have only one slot. */
function workOf(sim: Simulation): number {
  const open = [...sim.postgres.tables.runs.values()].filter(({ status }) => !TERMINAL.has(status));
  return open.reduce((ms, { orchestration_id }) => ms + orchestrationOf(orchestration_id).workMs, 0);
}

export function isAtRest(sim: Simulation): boolean {
  for (const { status } of sim.postgres.tables.runs.values()) if (!TERMINAL.has(status)) return false;
  return strayJobs(sim).length === 0 && sim.alive.every(({ worker }) => worker.active === 0);
}

/** A history as text, to find its defect: settings, commands, trace and violations. */
export async function describeHistory(history: History, parts: Parts = realParts): Promise<string> {
  const { violations, lines } = await play(history, parts, true);
  const commands = history.commands.map((each) => `  ${String(each.atMs).padStart(6)} ms  ${describe(each)}`);
  const { seed, workers, slots, limit, queued } = history;
  return [
    `seed ${seed}, ${workers} workers of ${slots} slots, limits ${limit} and ${queued}`,
    ...commands,
    ...lines.slice(-400),
    ...violations.map((violation) => `VIOLATION ${violation}`),
  ].join("\n");
}
