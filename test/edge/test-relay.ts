/** The relay object of the edge in this process, without a live stream: it finds new events by its check of Postgres. */
import { noSeat, RUN_SEATS, type RunJoin } from "../../edge/streaming/joins.ts";
import { Relay, RELAY_TIMING } from "../../edge/streaming/relay.ts";
import { ViewerAdmission } from "../../edge/streaming/viewer-admission.ts";
import { readEntries } from "../../shared/store/journal/read-journal.ts";
import { readPositions } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { findValidKeys } from "../../shared/store/tenants/api-keys.ts";

export class TestRelay {
  readonly #relay: Relay;
  readonly #admission: ViewerAdmission;
  readonly #timer: NodeJS.Timeout;

  constructor(sql: Sql) {
    this.#relay = new Relay({
      page: (run, after) => readEntries(sql, run, after, 200),
      positions: (runs) => readPositions(sql, runs),
    });
    this.#admission = new ViewerAdmission(RUN_SEATS, (keyIds) => findValidKeys(sql, keyIds));
    this.#timer = setInterval(() => {
      this.#relay.tick(false);
      void this.#admission.tick();
    }, RELAY_TIMING.tickMs);
  }

  readonly open = async (
    { run, after, tenant, keyId, untilMs }: RunJoin,
    signal: AbortSignal,
  ): Promise<Response> => {
    const newcomer = { seat: { tenant, keyId, stream: run }, untilMs, signal };
    const response = this.#admission.open(newcomer, (ends, onClosed) =>
      this.#relay.join(run, after, ends, onClosed),
    );
    if (response.status === 429) throw noSeat();
    return response;
  };

  stop(): void {
    clearInterval(this.#timer);
    this.#relay.closeAll();
  }
}
