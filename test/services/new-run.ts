import { TenantId, newRunId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";

/** A submitted run of acme's `orch`, due at once, in the default lane. `changes`: the fields that a test or a bench cares about. */
export function newRun(changes: Partial<NewRun> = {}): NewRun {
  const run_id = changes.run_id ?? newRunId(Date.now());
  return {
    run_id,
    tenant_id: TenantId.parse("acme"),
    orchestration_id: "orch",
    lane: "default",
    priority: 0,
    correlation_id: run_id,
    session_id: null,
    triggered_by: "api",
    input: JSON.stringify({ message: "hello", state: {} }),
    metadata: "{}",
    end_user: null,
    delay_ms: 0,
    idempotency_key: null,
    request_hash: null,
    webhook_url: null,
    webhook_secret: null,
    ...changes,
  };
}
