import { archiveVerbs } from "./verbs/archive.ts";
import { chatVerbs } from "./verbs/chat.ts";
import { definitionVerbs } from "./verbs/definitions.ts";
import { deliveryVerbs } from "./verbs/deliveries.ts";
import { fileVerbs } from "./verbs/files.ts";
import { fleetVerbs } from "./verbs/fleet.ts";
import { journalVerbs } from "./verbs/journal.ts";
import { moneyVerbs } from "./verbs/money.ts";
import { repairVerbs } from "./verbs/repair.ts";
import { runVerbs } from "./verbs/runs.ts";
import { scheduleVerbs } from "./verbs/schedules.ts";
import type { Bind } from "./verbs/verb.ts";

/**
 * Every verb, each written once: everything that a worker needs of Postgres. `bind` decides how a verb reaches Postgres: see
 * state.ts.
 */
export function bindVerbs(bind: Bind) {
  return {
    ...runVerbs(bind),
    ...journalVerbs(bind),
    ...archiveVerbs(bind),
    ...chatVerbs(bind),
    ...definitionVerbs(bind),
    ...moneyVerbs(bind),
    ...fileVerbs(bind),
    ...scheduleVerbs(bind),
    ...deliveryVerbs(bind),
    ...fleetVerbs(bind),
    ...repairVerbs(bind),
  };
}
