/**
 * `healthcheck.mjs URL`: ends with 0 when the URL answers with a status below 300 within 4 s, else with 1 and the reason. The request
 * has the bearer REDIS_REST_TOKEN if the environment has one: the REST front answers nothing without it.
 */
import { messageOf } from "../../shared/log.ts";

const [url] = process.argv.slice(2);
try {
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
