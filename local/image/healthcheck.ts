/**
 * `healthcheck.mjs URL`: its exit code is 0 when the URL answers within 4 s with a status below 300, else 1, and it prints the reason.
 * When the environment has REDIS_REST_TOKEN, the request has it as bearer: the REST front of Redis requires it.
 */
import { messageOf } from "../../shared/log.ts";
import { readSecretFiles } from "../../worker-node/secret-files.ts";

const [url] = process.argv.slice(2);
try {
  readSecretFiles(process.env);
  if (url === undefined) throw new Error("usage: healthcheck.mjs URL");
  const token = process.env.REDIS_REST_TOKEN;
  const answer = await fetch(url, {
    headers: token ? { authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(4_000),
  });
  const text = (await answer.text()).slice(0, 500);
  console.log(text);
  process.exit(answer.ok ? 0 : 1);
} catch (error) {
  console.error(messageOf(error));
  process.exit(1);
}
