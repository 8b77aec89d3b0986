import { z } from "zod";
import { randomHex } from "../../shared/contracts/ids.ts";
import { MailTestOutcome } from "../../shared/contracts/mail-server.ts";
import type { MailTest } from "../../shared/contracts/mail-server.ts";
import { healthQuestion, keys, mailQuestion } from "../../shared/keys.ts";
import { messageOf } from "../../shared/log.ts";
import { AppError } from "../../shared/errors.ts";
import type { Config } from "../env.ts";

/** The most characters of an answer that are read. */
const MAX_CHARS = 64 * 1024;

/** A worker's report of its own health. To answer, it checks each of its stores. `uptime`: in seconds. */
export const WorkerHealth = z.looseObject({
  status: z.enum(["ok", "degraded", "draining"]),
  worker_id: z.string(),
  active_jobs: z.number().int(),
  max_jobs: z.number().int(),
  uptime: z.number(),
  pg_connected: z.boolean(),
  redis_connected: z.boolean(),
  s3_connected: z.boolean().nullable(),
});
export type WorkerHealth = z.infer<typeof WorkerHealth>;

/** Asks a worker for its health. @returns null when it has not answered after `ms`. @throws AppError `redis_away` */
export async function askHealth(
  config: Config,
  incarnation: string,
  ms: number,
): Promise<WorkerHealth | null> {
  const question = randomHex(16);
  const answer = await ask(config, incarnation, { question, message: healthQuestion(question) }, ms);
  return answer === null ? null : WorkerHealth.parse(JSON.parse(answer));
}

/** Longer than the worker's own time limit for the mail server. */
const MAIL_TEST_MS = 9_000;

/**
 * Asks a worker to test a mail server.
 * @param question a random name, for which the URL in `test` may be sealed
 * @returns null when it has not answered in time. @throws AppError `redis_away`
 */
export async function askMailTest(
  config: Config,
  incarnation: string,
  question: string,
  test: MailTest,
): Promise<MailTestOutcome | null> {
  const message = mailQuestion(question, JSON.stringify(test));
  const answer = await ask(config, incarnation, { question, message }, MAIL_TEST_MS);
  return answer === null ? null : MailTestOutcome.parse(JSON.parse(answer));
}

/**
 * Asks a worker through Redis, because an edge cannot reach the addresses of workers. The question is published only after
 * the subscription to the channel of its answer is confirmed, so no answer is missed, and nothing polls.
 * @returns null when the worker has not answered after `ms`
 * @throws AppError `redis_away`
 */
async function ask(
  config: Config,
  incarnation: string,
  { question, message: asked }: { question: string; message: string },
  ms: number,
): Promise<string | null> {
  const signal = AbortSignal.timeout(ms);
  try {
    const stream = await send(config, `subscribe/${keys.answer(question)}`, signal);
    for await (const message of messagesOf(stream)) {
      if (message.startsWith("subscribe,")) {
        const command = ["publish", keys.control(incarnation), asked].map(encodeURIComponent);
        await (await send(config, command.join("/"), signal)).text();
      } else if (message.startsWith("message,")) {
        return message.slice(`message,${keys.answer(question)},`.length);
      }
    }
    throw new Error("the subscription ended");
  } catch (cause) {
    if (signal.aborted) return null;
    throw new AppError("redis_away", `The queue cannot be reached: ${messageOf(cause)}.`, {
      retryAfterSeconds: 2,
    });
  }
}

async function send(config: Config, path: string, signal: AbortSignal): Promise<Response> {
  const base = config.UPSTASH_REDIS_REST_URL.replace(/\/*$/, "/");
  const response = await fetch(new URL(path, base), {
    method: "POST",
    headers: { authorization: `Bearer ${config.UPSTASH_REDIS_REST_TOKEN}`, accept: "text/event-stream" },
    signal,
  });
  if (response.ok) return response;
  await response.body?.cancel();
  throw new Error(`it answered HTTP ${response.status}`);
}

/** The data of each server-sent event. */
async function* messagesOf({ body }: Response): AsyncGenerator<string> {
  if (!body) return;
  let text = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      text += chunk.value;
      if (text.length > MAX_CHARS) throw new Error("the answer is too long");
      const events = text.split(/\r?\n\r?\n/);
      text = events.pop() ?? "";
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data: "));
        if (data.length > 0) yield data.map((line) => line.slice("data: ".length)).join("\n");
      }
    }
  } finally {
    // Ends the subscription too.
    await reader.cancel().catch(() => {});
  }
}
