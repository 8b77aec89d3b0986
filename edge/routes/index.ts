import type { Api } from "../http/api.ts";
import { callState } from "./internal/call-state.ts";
import { cancelRun } from "./runs/cancel-run.ts";
import { cancelRuns } from "./runs/cancel-runs.ts";
import { createRun } from "./runs/create-run.ts";
import { createStreamToken } from "./runs/create-stream-token.ts";
import { deleteDeadLetter } from "./operations/delete-dead-letter.ts";
import { deleteDefinition } from "./definitions/delete-definition.ts";
import { deleteOrchestration } from "./definitions/delete-orchestration.ts";
import { explainRun } from "./runs/explain-run.ts";
import { getArtifact } from "./runs/get-artifact.ts";
import { getDeadLetter } from "./operations/get-dead-letter.ts";
import { getDefinition } from "./definitions/get-definition.ts";
import { getOrchestration } from "./definitions/get-orchestration.ts";
import { getQueueStats } from "./operations/get-queue-stats.ts";
import { getRunResult } from "./runs/get-run-result.ts";
import { getRunStatus } from "./runs/get-run-status.ts";
import { health } from "./operations/health.ts";
import { listArtifacts } from "./runs/list-artifacts.ts";
import { listDeadLetters } from "./operations/list-dead-letters.ts";
import { listDefinitions } from "./definitions/list-definitions.ts";
import { listDeliveries } from "./operations/list-deliveries.ts";
import { listOrchestrations } from "./definitions/list-orchestrations.ts";
import { listRunEvents } from "./runs/list-run-events.ts";
import { listTenants } from "./operations/list-tenants.ts";
import { listWorkers } from "./operations/list-workers.ts";
import { openapi } from "./operations/openapi.ts";
import { putDefinition } from "./definitions/put-definition.ts";
import { putOrchestration } from "./definitions/put-orchestration.ts";
import { redeliver } from "./operations/redeliver-webhook.ts";
import { resumeRun } from "./runs/resume-run.ts";
import { retryDeadLetter } from "./operations/retry-dead-letter.ts";
import { retryDeadLetters } from "./operations/retry-dead-letters.ts";
import { retryRun } from "./runs/retry-run.ts";
import { retryRuns } from "./runs/retry-runs.ts";
import { saveTenant } from "./operations/save-tenant.ts";
import { streamRun } from "./runs/stream-run.ts";
import { streamRuns } from "./runs/stream-runs.ts";

/** Every route, in the order of the documentation. Each function adds its route to the app. */
export const routes: readonly ((api: Api) => void)[] = [
  createRun,
  getRunStatus,
  getRunResult,
  listArtifacts,
  getArtifact,
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
  // Clients of the predecessor system use the second prefix.
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
