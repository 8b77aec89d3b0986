/** The REST front as a process: its log lines and its end. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { createInterface } from "node:readline";
import { json } from "node:stream/consumers";
import { expect, inject, test } from "vitest";
import { z } from "zod";

const main = new URL("../../../worker-node/redis-rest/main.ts", import.meta.url).pathname;

/** Code that a process manager loads into the process and that keeps a handle open, as pm2 keeps its channel. */
const keptAlive =
  "data:text/javascript,import{createServer}from'node:net';createServer().listen(0,'127.0.0.1')";

function start(env: Record<string, string>) {
  const child = spawn(process.execPath, ["--import", keptAlive, main], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, nextLine: async () => JSON.parse(String((await lines.next()).value)) as unknown };
}

test("the process logs its port, responds, and on SIGTERM ends after the responses in flight", async () => {
  const { child, nextLine } = start({
    REDIS_URL: inject("redisUrl"),
    REDIS_REST_TOKEN: "t",
    REDIS_REST_PORT: "0",
  });
  const Listening = z.strictObject({
    at: z.iso.datetime(),
    level: z.literal("info"),
    event: z.literal("redis_rest.listening"),
    port: z.int().min(1),
  });
  const { port } = Listening.parse(await nextLine());
  const headers = { authorization: "Bearer t", expect: "100-continue" };
  expect(
    await (await fetch(`http://127.0.0.1:${port}/ping`, { headers: { authorization: "Bearer t" } })).json(),
  ).toEqual({
    result: "PONG",
  });

  // `100 Continue` says that the server has the request.
  const inFlight = request({ port, method: "POST", headers });
  inFlight.flushHeaders();
  await once(inFlight, "continue");
  // The rest of this request never comes. Without the grace period the server would wait 300 s for it.
  const unfinished = request({ port, method: "POST", headers });
  const cut = once(unfinished, "error");
  unfinished.flushHeaders();
  await once(unfinished, "continue");
  child.kill("SIGTERM");
  inFlight.end(JSON.stringify(["ECHO", "done"]));
  const [response] = await once(inFlight, "response");
  expect(await json(response)).toEqual({ result: "done" });
  // A shell and a process manager may both pass a signal on. The second one ends nothing earlier.
  child.kill("SIGTERM");
  expect(await nextLine()).toMatchObject({ level: "info", event: "redis_rest.stopped" });
  const [code] = await once(child, "exit");
  expect(code).toBe(0);
  await cut;
});

test("a wrong environment ends the process with a log line that says what to write", async () => {
  const { child } = start({ REDIS_URL: "redis://localhost" });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = await once(child, "close");
  expect(code).toBe(1);
  expect(JSON.parse(output)).toMatchObject({
    level: "error",
    event: "redis_rest.failed",
    message: "REDIS_REST_TOKEN is missing: write a long random word, the same that clients send",
  });
});
