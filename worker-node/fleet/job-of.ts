import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import type { Job } from "../../shared/queue/job.ts";

/** The job of a run. */
export function jobOf(run: {
  run_id: RunId;
  tenant_id: TenantId;
  lane: Lane;
  queued_at_ms: number;
  priority: number;
}): Job {
  return {
    run: run.run_id,
    tenant: run.tenant_id,
    lane: run.lane,
    score: scoreOf(run.queued_at_ms, run.priority),
  };
}
