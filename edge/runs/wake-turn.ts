import type { SessionId } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import { wakeTurns } from "../../shared/store/chat/turn-order.ts";
import type { Services } from "../services.ts";

/**
 * Makes the next waiting turn of a session due and ready, if all turns before it have ended. Never throws: the reconciler finds a
 * turn that a failure leaves (docs/protocol.md 7.10).
 */
export async function wakeNextTurn(
  { sql, queue }: Pick<Services, "sql" | "queue">,
  session: SessionId,
): Promise<void> {
  try {
    await enqueueDue(queue, await wakeTurns(sql, session));
  } catch (error) {
    log.info("chat.turn_not_woken", { session, error: messageOf(error) });
  }
}
