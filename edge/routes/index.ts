import type { Api } from "../api.ts";
import { callState } from "./call-state.ts";
import { cancelRun } from "./cancel-run.ts";
import { cancelRuns } from "./cancel-runs.ts";
import { createRun } from "./create-run.ts";
import { createStreamToken } from "./create-stream-token.ts";
import { deleteDeadLetter } from "./delete-dead-letter.ts";
import { deleteDefinition } from "./delete-definition.ts";
import { deleteOrchestration } from "./delete-orchestration.ts";
import { explainRun } from "./explain-run.ts";
import { getDeadLetter } from "./get-dead-letter.ts";
import { getDefinition } from "./get-definition.ts";
import { getOrchestration } from "./get-orchestration.ts";
import { getQueueStats } from "./get-queue-stats.ts";
import { getRunResult } from "./get-run-result.ts";
import { getRunStatus } from "./get-run-status.ts";
import { health } from "./health.ts";
import { listDeadLetters } from "./list-dead-letters.ts";
import { listDefinitions } from "./list-definitions.ts";
import { listDeliveries } from "./list-deliveries.ts";
import { listOrchestrations } from "./list-orchestrations.ts";
import { listRunEvents } from "./list-run-events.ts";
import { listTenants } from "./list-tenants.ts";
import { listWorkers } from "./list-workers.ts";
import { openapi } from "./openapi.ts";
import { putDefinition } from "./put-definition.ts";
import { putOrchestration } from "./put-orchestration.ts";
import { redeliver } from "./redeliver.ts";
import { resumeRun } from "./resume-run.ts";
import { retryDeadLetter } from "./retry-dead-letter.ts";
import { retryDeadLetters } from "./retry-dead-letters.ts";
import { retryRun } from "./retry-run.ts";
import { retryRuns } from "./retry-runs.ts";
import { saveTenant } from "./save-tenant.ts";
import { streamRun } from "./stream-run.ts";
import { streamRuns } from "./stream-runs.ts";

/** Every route, in the order of the documentation. Each adds itself to the app. */
export const routes: readonly ((api: Api) => void)[] = [
  createRun,
  getRunStatus,
  getRunResult,
  streamRun,
  createStreamToken,
  listRunEvents,
  explainRun,
  cancelRun,
  resumeRun,
  retryRun,
  cancelRuns,
  retryRuns,
  streamRuns,
  listOrchestrations,
  getOrchestration,
  putOrchestration,
  deleteOrchestration,
  listDefinitions("agents"),
  getDefinition("agents"),
  putDefinition("agents"),
  deleteDefinition("agents"),
  listDefinitions("tools"),
  getDefinition("tools"),
  putDefinition("tools"),
  deleteDefinition("tools"),
  getQueueStats,
  listWorkers,
  // The second is where clients of the original look for it.
  listTenants("/scale"),
  saveTenant("/scale"),
  listTenants("/api/scale"),
  saveTenant("/api/scale"),
  ...["/scale", "/api/scale"].flatMap((prefix) => [
    listDeadLetters(prefix),
    retryDeadLetters(prefix),
    getDeadLetter(prefix),
    retryDeadLetter(prefix),
    deleteDeadLetter(prefix),
    listDeliveries(prefix),
    redeliver(prefix),
  ]),
  callState,
  health,
  openapi,
];
