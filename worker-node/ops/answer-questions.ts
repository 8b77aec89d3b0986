import { MailTest } from "../../shared/contracts/mail-server.ts";
import type { WorkerRedis } from "../clients/worker-redis.ts";
import type { MailServerDeps } from "../mail/mail-transport.ts";
import { testMailServer } from "../mail/test-mail-server.ts";
import type { Health } from "./read-health.ts";

/** Answers what edges ask this worker through Redis: its health, and whether a mail server accepts its settings. */
export function answerQuestions(
  redis: Pick<WorkerRedis, "onHealthQuestion" | "onMailQuestion">,
  health: () => Promise<Health>,
  mailServers: MailServerDeps,
): void {
  redis.onHealthQuestion(async () => JSON.stringify(await health()));
  redis.onMailQuestion(async (question, text) => {
    const test = MailTest.parse(JSON.parse(text));
    return JSON.stringify(await testMailServer(test, question, mailServers));
  });
}
