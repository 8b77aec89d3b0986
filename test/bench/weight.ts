/**
 * `npm run bench:weight`: the memory and the processor time that `npm start` takes. `-- --base REV` installs that revision in a
 * temporary folder and measures both builds in turn. Linux only: it reads /proc.
 *
 * A start is `npm start`, npm included. Memory is the sum over its tree of processes, as RSS (pages that processes share
 * count for each) and as PSS (they count once). "Under load" is 64 runs a second for 60 s, one in twenty with a viewer.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, chmodSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { z } from "zod";
import { freePort } from "../../local/processes/free-ports.ts";
import { projectFolder } from "../../local/processes/programs.ts";
import { compareWith } from "./compare.ts";
import { treeCpuMs, treeMemory, type ProcessMemory } from "./cpu.ts";
import type { Row } from "./stats.ts";

const SETTLE_MS = 60_000;
const LOAD_SECONDS = 60;
const RUNS_PER_SECOND = 64;
const WATCHED_OF = 20;
const START_MS = 300_000;

const Facts = z.object({ api_base: z.string(), api_key: z.string() });
type Started = { pid: number; firstRunMs: number; facts: z.infer<typeof Facts>; stop(): Promise<void> };

/** @param folder a checkout with its packages */
async function measure(folder: string): Promise<Row[]> {
  const data = mkdtempSync(join(tmpdir(), "synapse-weight-"));
  chmodSync(data, 0o711); // under root another user runs Postgres, and must be able to enter this folder
  try {
    await (await start(folder, data)).stop();
    const system = await start(folder, data);
    try {
      return [
        { what: "second start to the first 202", figure: system.firstRunMs / 1_000, unit: "s", mark: "6" },
        ...(await measureIdle(system)),
        ...(await measureLoad(system)),
      ];
    } finally {
      await system.stop();
    }
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
}

async function measureIdle({ pid }: Started): Promise<Row[]> {
  await sleep(SETTLE_MS);
  const beforeMs = treeCpuMs(pid);
  await sleep(SETTLE_MS);
  const percent = ((treeCpuMs(pid) - beforeMs) / SETTLE_MS) * 100;
  return [
    ...memoryRows("idle", treeMemory(pid), "600"),
    { what: "idle, processor time", figure: percent, unit: "% of a core", mark: "1" },
  ];
}

async function measureLoad({ pid, facts }: Started): Promise<Row[]> {
  const beforeMs = treeCpuMs(pid);
  const viewers: Promise<void>[] = [];
  let refused = 0;
  const startMs = performance.now();
  for (let number = 0; number < RUNS_PER_SECOND * LOAD_SECONDS; number++) {
    await sleep(Math.max(0, startMs + (number * 1_000) / RUNS_PER_SECOND - performance.now()));
    const posted = post(facts).then(async (accepted) => {
      if (accepted === null) refused++;
      else if (number % WATCHED_OF === 0) await watch(facts, accepted);
    });
    viewers.push(posted);
  }
  const processes = treeMemory(pid);
  const cpuMs = treeCpuMs(pid) - beforeMs;
  await Promise.all(viewers);
  return [
    ...memoryRows("under load", processes),
    { what: "under load, processor time", figure: cpuMs / LOAD_SECONDS / 10, unit: "% of a core" },
    { what: "under load, refused runs", figure: refused, unit: "" },
  ];
}

/** The sums, and a line for each program that takes more than 2 MiB. */
function memoryRows(when: string, processes: readonly ProcessMemory[], mark?: string): Row[] {
  const sum = (kibOf: (memory: ProcessMemory) => number): number =>
    processes.reduce((total, each) => total + kibOf(each), 0) / 1_024;
  return [
    { what: `${when}, RSS in sum`, figure: sum(({ rssKiB }) => rssKiB), unit: "MiB", ...(mark && { mark }) },
    ...Array.from(Map.groupBy(processes, ({ name }) => name))
      .map(([name, sameName]) => ({
        what: `  ${name}${sameName.length > 1 ? ` x ${sameName.length}` : ""}`,
        figure: sameName.reduce((total, { rssKiB }) => total + rssKiB, 0) / 1_024,
        unit: "MiB",
      }))
      .filter(({ figure }) => figure > 2),
    { what: `${when}, PSS in sum`, figure: sum(({ pssKiB }) => pssKiB), unit: "MiB" },
  ];
}

/** `npm start`, until it accepts runs and has accepted one. */
async function start(folder: string, data: string): Promise<Started> {
  const beganMs = performance.now();
  const port = String(await freePort(0));
  const args = ["start", "--", "--data", data, "--port", port];
  const npm = spawn("npm", args, { cwd: folder, stdio: ["ignore", "pipe", "inherit"], detached: true });
  let output = "";
  const { promise: running, resolve, reject } = Promise.withResolvers<void>();
  npm.stdout.on("data", (text: Buffer) => {
    if (!output.includes("synapse-edge is running")) output += String(text);
    if (output.includes("synapse-edge is running")) resolve();
  });
  npm.once("exit", () =>
    reject(new Error(`npm start ended before it was running:\n${output.slice(-2_000)}`)),
  );
  const late = setTimeout(() => reject(new Error("npm start takes too long")), START_MS);
  const stop = async (): Promise<void> => {
    if (npm.exitCode !== null) return;
    process.kill(-(npm.pid ?? 0), "SIGINT"); // to the group, as a terminal does at Ctrl-C: npm does not pass it on
    await once(npm, "exit");
  };
  try {
    await running;
    const facts = Facts.parse(JSON.parse(readFileSync(join(data, "dev.json"), "utf8")));
    while ((await post(facts)) === null) await sleep(10);
    return { pid: npm.pid ?? 0, firstRunMs: performance.now() - beganMs, facts, stop };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    clearTimeout(late);
  }
}

const Accepted = z.object({ stream_url: z.string() });

/** Starts a run of the demo. @returns the path of its stream; null when it was refused */
async function post({ api_base, api_key }: z.infer<typeof Facts>): Promise<string | null> {
  const answer = await fetch(`${api_base}/api/v2/orchestrations/orch_smoke/run`, {
    method: "POST",
    headers: { authorization: `Bearer ${api_key}`, "content-type": "application/json" },
    body: JSON.stringify({ message: "hello" }),
  });
  const body: unknown = await answer.json();
  return answer.status === 202 ? Accepted.parse(body).stream_url : null;
}

/** Reads a stream to its end. */
async function watch({ api_base, api_key }: z.infer<typeof Facts>, path: string): Promise<void> {
  const answer = await fetch(api_base + path, { headers: { authorization: `Bearer ${api_key}` } });
  await answer.text();
}

function print(rows: readonly Row[]): void {
  for (const { what, figure, unit, mark } of rows)
    console.log(
      `${what.padEnd(48)}${figure.toFixed(2).padStart(10)} ${unit}${mark ? ` (target ${mark})` : ""}`,
    );
}

const { base } = parseArgs({ options: { base: { type: "string" } } }).values;
if (base === undefined) print(await measure(projectFolder));
else await compareWith(base, measure);
