import type { NewRun } from "../../shared/contracts/run.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import { listSuperseded } from "../../shared/store/runs/singletons.ts";
import type { Services } from "../services.ts";
import { cancel } from "./cancel.ts";

/**
 * Cancels the runs that a committed run supersedes (`singleton_policy: "cancel_previous"`), after the response. The reconciler
 * repeats a cancel that fails here (docs/protocol.md 7.12).
 */
export function cancelSuperseded(services: Services, submitted: NewRun): void {
  const { run_id, tenant_id, singleton } = submitted;
  if (singleton?.policy !== "cancel_previous") return;
  const cancelAll = async (): Promise<void> => {
    for (const run of await listSuperseded(services.sql, run_id)) await cancel(services, tenant_id, run);
  };
  services.waitUntil(
    cancelAll().catch((error: unknown) => {
      log.info("run.superseded_not_cancelled", { ...aboutRun(submitted), message: messageOf(error) });
    }),
  );
}
