/** The documentation's Python snippet on Debian's Python, and its React hook in Debian's Chromium. */
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { projectFolder } from "../../local/processes/programs.ts";
import {
  SnippetProgram,
  expectLongRun,
  expectWholeRun,
  snippet,
  startSnippetStack,
  textOf,
} from "../services/seed-snippets/stack.ts";
import type { SnippetStack } from "../services/seed-snippets/stack.ts";
import { Tabs } from "./tab.ts";

let stack: SnippetStack;
let tabs: Tabs;
beforeAll(async () => {
  [stack, tabs] = await Promise.all([startSnippetStack(), Tabs.open()]);
});
afterAll(() => Promise.all([stack.stop(), tabs.close()]));

const startPython = (orchestration: string): SnippetProgram => {
  const source = snippet("client.py", stack.edge.base, stack.key) + textOf("drive-client.py");
  return new SnippetProgram("/usr/bin/python3", "client.py", source, [orchestration, "a question", "acme"]);
};

test("the Python snippet starts a run and receives all of its events, then ends", async () => {
  await expectWholeRun(stack, startPython);
});

/** A page whose only component shows what the hook returns for this run, as JSON. */
async function openHook(run: string) {
  const before = snippet("before-hook.ts.txt", stack.edge.base, stack.key);
  const contents = [before, textOf("hook.ts.txt"), textOf("show-hook.ts.txt")].join("\n");
  const stdin = { contents, loader: "ts", resolveDir: projectFolder } as const;
  const define = { RUN: JSON.stringify(run), "process.env.NODE_ENV": '"production"' };
  const bundle = await build({ stdin, bundle: true, write: false, format: "iife", define });
  const { page, connections } = await tabs.execute(bundle.outputFiles[0]?.text ?? "");
  const Shown = z.object({ status: z.string(), events: z.array(z.looseObject({ type: z.string() })) });
  const shown = async () => Shown.parse(JSON.parse(await page.locator("pre").innerText()));
  return { shown, connections };
}

async function startRun(orchestration: string): Promise<string> {
  const body = { message: "a question" };
  const answer = await stack.edge.call("POST", `/api/v2/orchestrations/${orchestration}/run`, {
    key: stack.key,
    body,
  });
  expect(answer.status).toBe(202);
  return z.object({ run_id: z.string() }).parse(await answer.json()).run_id;
}

// Fails when the API sends no CORS headers, names its events, or refuses a key in the query.
test("the React hook shows each event once and in order, and is done at the end of the run", async () => {
  const run = await startRun("orch_prints");
  const page = await openHook(run);
  await expect.poll(async () => (await page.shown()).status).toBe("done");
  expect((await page.shown()).events).toEqual(await stack.stored(run));
});

// The two tests of silent runs wait at the same time.
test.concurrent("the Python snippet receives all of a run that is silent for longer than two keepalives", async () => {
  await expectLongRun(stack, startPython);
});

test.concurrent("the React hook keeps one connection through a run that is silent for longer than two keepalives", async () => {
  const run = await startRun("orch_asks");
  const page = await openHook(run);
  await expect.poll(async () => (await page.shown()).events.at(-1)?.type).toBe("paused");
  expect((await page.shown()).status).toBe("running");
  await stack.untilLongSilent(run);
  await stack.answer(run);
  await expect.poll(async () => (await page.shown()).status).toBe("done");
  expect((await page.shown()).events).toEqual(await stack.stored(run));
  expect(await page.connections()).toEqual([{ status: 200, after: undefined }]);
});
