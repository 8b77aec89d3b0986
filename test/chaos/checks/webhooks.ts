/** Each end and each question of a run with a webhook is delivered at least once, the same each time. */
import { EndRecord } from "../../../shared/contracts/journal-entry.ts";
import type { Evidence, JournalRow } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

const PROMISE = "every end is delivered";

/** docs/protocol.md 14.8: one delivery row per end of a run with a webhook, and per question. */
export function everyEndHasADelivery({ runs, journal, deliveries }: Evidence): Violation[] {
  const entries = Map.groupBy(journal, ({ run_id }) => run_id);
  const rows = Map.groupBy(deliveries, ({ run_id }) => run_id);
  return runs.flatMap(({ run_id, webhook }) => {
    const due = webhook ? (entries.get(run_id) ?? []).flatMap((entry) => deliveryOf(entry) ?? []) : [];
    const written = (rows.get(run_id) ?? []).map(({ seq, type }) => `${type} at ${seq}`).toSorted();
    if (written.join() === due.toSorted().join()) return [];
    return [
      broken(PROMISE, `due: ${due.join(", ") || "none"}; written: ${written.join(", ") || "none"}`, run_id),
    ];
  });
}

/** The delivery of an entry; null: none. */
function deliveryOf({ kind, seq, output, events }: JournalRow): string | null {
  if (kind === "end" && output !== null) return `run.${EndRecord.parse(JSON.parse(output)).status} at ${seq}`;
  const asks = events.includes('"human_input_required"') || events.includes('"human_escalated"');
  return kind === "park" && asks ? `run.waiting at ${seq}` : null;
}

/** docs/protocol.md 12: webhook requests at least once, under the same id. */
export function everyDeliveryIsReceived({ deliveries, receiver }: Evidence): Violation[] {
  return deliveries.flatMap(({ delivery_id, run_id, outcome }) => {
    const answered = receiver.get(delivery_id)?.answered ?? 0;
    if (outcome === "delivered" && answered > 0) return [];
    return [
      broken(
        PROMISE,
        `${delivery_id} is ${outcome ?? "pending"}, and was received ${answered} times`,
        run_id,
      ),
    ];
  });
}

/** A receiver verifies the signature, and recognizes a repetition by its id. */
export function everyWebhookIsSigned({ webhookRequests, deliveries, runs }: Evidence): Violation[] {
  const turns = new Set(runs.filter(({ chat_session }) => chat_session !== null).map(({ run_id }) => run_id));
  const byId = Map.groupBy(webhookRequests, ({ id }) => id);
  const rows = new Map(deliveries.map((row) => [row.delivery_id, row]));
  return Array.from(byId).flatMap(([id, times]) => {
    const row = rows.get(id);
    if (!row) return [broken(PROMISE, `the delivery "${id}" has no row`)];
    const { run_id, type } = row;
    const bodies = new Set(times.map(({ body }) => body));
    const [body = ""] = bodies;
    if (bodies.size > 1) return [broken(PROMISE, `${id} had ${bodies.size} bodies`, run_id)];
    if (times.some(({ signed }) => !signed)) return [broken(PROMISE, `${id} was not signed`, run_id)];
    // The body of a turn names it as such, and its type begins with the chat.
    const belongs = turns.has(run_id)
      ? body.startsWith(`{"type":"${type.replace(/^run\./, "chat.")}"`) &&
        body.includes(`"turn_id":"${run_id}"`)
      : body.startsWith(`{"type":"${type}","run_id":"${run_id}"`);
    return belongs
      ? []
      : [broken(PROMISE, `${id} had the body of another delivery: ${body.slice(0, 200)}`, run_id)];
  });
}
