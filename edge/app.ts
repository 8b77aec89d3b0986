import { newApi } from "./http/api.ts";
import type { Api } from "./http/api.ts";
import { dropRefusedBody } from "./http/drop-body.ts";
import { crossOrigin } from "./http/middleware/cross-origin.ts";
import { documentedRouteOf } from "./http/documented-routes.ts";
import { knownBody } from "./http/middleware/known-body.ts";
import { knownHeaders } from "./http/middleware/known-headers.ts";
import { knownUrl } from "./http/middleware/known-url.ts";
import { limitBody } from "./http/middleware/limit-body.ts";
import { notStored } from "./http/middleware/not-stored.ts";
import { rateLimitFields } from "./http/middleware/rate-limit-fields.ts";
import { requestId } from "./http/middleware/request-id.ts";
import { signedHead } from "./http/middleware/signed-head.ts";
import { traced } from "./http/middleware/traced.ts";
import { assetOf, noRoute } from "./http/no-route.ts";
import { problemResponse } from "./http/problem.ts";
import { deleteDefinition } from "./routes/definitions/delete-definition.ts";
import { deleteOrchestration } from "./routes/definitions/delete-orchestration.ts";
import { getDefinition } from "./routes/definitions/get-definition.ts";
import { getOrchestration } from "./routes/definitions/get-orchestration.ts";
import { getSyncStatus } from "./routes/definitions/get-sync-status.ts";
import { listDefinitions } from "./routes/definitions/list-definitions.ts";
import { listMasterKeys } from "./routes/operations/list-master-keys.ts";
import { listOrchestrations } from "./routes/definitions/list-orchestrations.ts";
import { putDefinition } from "./routes/definitions/put-definition.ts";
import { putOrchestration } from "./routes/definitions/put-orchestration.ts";
import { cancelTurn } from "./routes/chat/cancel-turn.ts";
import { createSessionToken } from "./routes/chat/create-session-token.ts";
import { createTurn, MAX_CHAT_MIB } from "./routes/chat/create-turn.ts";
import { deleteSession } from "./routes/chat/delete-session.ts";
import { getSession } from "./routes/chat/get-session.ts";
import { listSessionEvents } from "./routes/chat/list-session-events.ts";
import { listSessions } from "./routes/chat/list-sessions.ts";
import { renameSession } from "./routes/chat/rename-session.ts";
import { streamSession } from "./routes/chat/stream-session.ts";
import { syncBundle } from "./routes/definitions/sync-definitions.ts";
import { deleteBudget } from "./routes/money/delete-budget.ts";
import { deleteProviderLimit } from "./routes/money/delete-provider-limit.ts";
import { listProviderLimits } from "./routes/money/list-provider-limits.ts";
import { saveProviderLimit } from "./routes/money/save-provider-limit.ts";
import { deleteProviderKey } from "./routes/definitions/delete-provider-key.ts";
import { getProviderKey } from "./routes/definitions/get-provider-key.ts";
import { listProviderKeys } from "./routes/definitions/list-provider-keys.ts";
import { putProviderKey } from "./routes/definitions/put-provider-key.ts";
import { deleteModelPrice } from "./routes/money/delete-model-price.ts";
import { listBudgets } from "./routes/money/list-budgets.ts";
import { listModels } from "./routes/money/list-models.ts";
import { saveBudget } from "./routes/money/save-budget.ts";
import { saveModelPrice } from "./routes/money/save-model-price.ts";
import { callState } from "./routes/internal/call-state.ts";
import { changeLane } from "./routes/operations/change-lane.ts";
import { changeConfig } from "./routes/operations/change-config.ts";
import { changeTenant } from "./routes/operations/change-tenant.ts";
import { createApiKey } from "./routes/operations/create-api-key.ts";
import { deleteTenant } from "./routes/operations/delete-tenant.ts";
import { getTenant } from "./routes/operations/get-tenant.ts";
import { getUsage } from "./routes/operations/get-usage.ts";
import { listApiKeys } from "./routes/operations/list-api-keys.ts";
import { listAudit } from "./routes/operations/list-audit.ts";
import { revokeApiKey } from "./routes/operations/revoke-api-key.ts";
import { rotateApiKey } from "./routes/operations/rotate-api-key.ts";
import { deleteDeadLetter } from "./routes/operations/delete-dead-letter.ts";
import { getArtifact } from "./routes/runs/get-artifact.ts";
import { getDeadLetter } from "./routes/operations/get-dead-letter.ts";
import { getMetrics } from "./routes/operations/get-metrics.ts";
import { getQueueStats } from "./routes/operations/get-queue-stats.ts";
import { getAnalytics } from "./routes/operations/get-analytics.ts";
import { getConfig } from "./routes/operations/get-config.ts";
import { getQueue } from "./routes/operations/get-queue.ts";
import { deleteMailServer } from "./routes/operations/delete-mail-server.ts";
import { getMailServer } from "./routes/operations/get-mail-server.ts";
import { saveMailServer } from "./routes/operations/save-mail-server.ts";
import { testSmtp } from "./routes/operations/test-smtp.ts";
import { testS3At } from "./routes/operations/test-s3.ts";
import { testStoreAt } from "./routes/operations/test-stores.ts";
import { health } from "./routes/operations/health.ts";
import { listArtifacts } from "./routes/runs/list-artifacts.ts";
import { listDeadLetters } from "./routes/operations/list-dead-letters.ts";
import { listRunsAt } from "./routes/operations/list-runs.ts";
import { listDeliveries } from "./routes/operations/list-deliveries.ts";
import { listMails } from "./routes/operations/list-mails.ts";
import { listTenants } from "./routes/operations/list-tenants.ts";
import { drainWorker } from "./routes/operations/drain-worker.ts";
import { getWorkerHealth } from "./routes/operations/get-worker-health.ts";
import { removeWorker } from "./routes/operations/remove-worker.ts";
import { listWorkers, listWorkersAt } from "./routes/operations/list-workers.ts";
import { openapi } from "./routes/operations/openapi.ts";
import { retryMail } from "./routes/operations/retry-mail.ts";
import { redeliver } from "./routes/operations/redeliver-webhook.ts";
import { retryDeadLetter } from "./routes/operations/retry-dead-letter.ts";
import { retryDeadLetters } from "./routes/operations/retry-dead-letters.ts";
import { saveTenant } from "./routes/operations/save-tenant.ts";
import { cancelRun } from "./routes/runs/cancel-run.ts";
import { cancelRuns } from "./routes/runs/cancel-runs.ts";
import { createBatch } from "./routes/runs/create-batch.ts";
import { createUpload, UPLOADS_PATH } from "./routes/uploads/create-upload.ts";
import { deleteUpload } from "./routes/uploads/delete-upload.ts";
import { getUpload } from "./routes/uploads/get-upload.ts";
import { createRun } from "./routes/runs/create-run.ts";
import { createStreamToken } from "./routes/runs/create-stream-token.ts";
import { explainRun } from "./routes/runs/explain-run.ts";
import { getBatch } from "./routes/runs/get-batch.ts";
import { getBatchResults } from "./routes/runs/get-batch-results.ts";
import { getRunLog } from "./routes/runs/get-run-log.ts";
import { getRunResult } from "./routes/runs/get-run-result.ts";
import { getRunStatus } from "./routes/runs/get-run-status.ts";
import { listRunEvents } from "./routes/runs/list-run-events.ts";
import { listRuns } from "./routes/runs/list-runs.ts";
import { resumeRun } from "./routes/runs/resume-run.ts";
import { retryRun } from "./routes/runs/retry-run.ts";
import { retryRuns } from "./routes/runs/retry-runs.ts";
import { streamRun } from "./routes/runs/stream-run.ts";
import { streamRuns } from "./routes/runs/stream-runs.ts";
import { deleteSchedule } from "./routes/schedules/delete-schedule.ts";
import { getSchedule } from "./routes/schedules/get-schedule.ts";
import { listSchedules } from "./routes/schedules/list-schedules.ts";
import { pauseSchedule } from "./routes/schedules/pause-schedule.ts";
import { putSchedule } from "./routes/schedules/put-schedule.ts";
import { runSchedule } from "./routes/schedules/run-schedule.ts";
import { createTrigger } from "./routes/triggers/create-trigger.ts";
import { deleteTrigger } from "./routes/triggers/delete-trigger.ts";
import { fireTrigger } from "./routes/triggers/fire-trigger.ts";
import { getTrigger } from "./routes/triggers/get-trigger.ts";
import { listTriggers } from "./routes/triggers/list-triggers.ts";
import { putTrigger } from "./routes/triggers/put-trigger.ts";
import { deleteEndpoint } from "./routes/webhooks/delete-endpoint.ts";
import { enableEndpoint } from "./routes/webhooks/enable-endpoint.ts";
import { getEndpoint } from "./routes/webhooks/get-endpoint.ts";
import { listEndpoints } from "./routes/webhooks/list-endpoints.ts";
import { putEndpoint } from "./routes/webhooks/put-endpoint.ts";
import { rotateSecret } from "./routes/webhooks/rotate-secret.ts";
import { testEndpoint } from "./routes/webhooks/test-endpoint.ts";
import type { ServicesOf } from "./services.ts";

/** The HTTP API. `servicesOf` opens the services of one request. */
export function createApp(servicesOf: ServicesOf): Api {
  const app = newApi();
  app.use(requestId);
  app.use(notStored);
  app.use(async (c, next) => {
    c.set(
      "services",
      servicesOf(c.env, (work) => c.executionCtx.waitUntil(work)),
    );
    await next();
  });
  app.use(traced);
  app.use(crossOrigin);
  app.use(rateLimitFields);
  app.use("/api/*", dropRefusedBody);
  app.use("/scale/*", dropRefusedBody);
  const routeOf = documentedRouteOf(app);
  app.use(knownUrl(routeOf));
  app.use(knownHeaders(routeOf));
  app.use("/api/*", limitBody(1, routeOf, { "/api/v2/chat": MAX_CHAT_MIB, [UPLOADS_PATH]: null }));
  app.use("/scale/*", limitBody(1, routeOf));
  app.use(knownBody(routeOf));
  app.use("/internal/*", signedHead);
  // A worker's flush has up to 4 MiB, and escapes in JSON make it longer.
  app.use("/internal/*", limitBody(16, routeOf));
  for (const add of routes) add(app);
  app.notFound(async (c) => (await assetOf(c)) ?? noRoute(app, c));
  app.onError((error, c) => problemResponse(error, c.get("requestId") ?? ""));
  return app;
}

/** Redirects between the places where clients look for the documentation and for the API's document. */
function redirectToDocs(api: Api): void {
  api.get("/api/v2/docs", (c) => c.redirect("/docs"));
  api.get("/openapi.json", (c) => c.redirect("/api/v2/openapi.json"));
}

/** Every route, in the order of the documentation. Each function adds its route to the app. */
const routes: readonly ((api: Api) => void)[] = [
  createRun,
  // Before the routes of orchestrations: no orchestration has the id `runs`.
  listRuns,
  createBatch,
  getBatch,
  getBatchResults,
  getRunStatus,
  getRunResult,
  getRunLog,
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
  createTurn,
  listSessions,
  getSession,
  streamSession,
  createSessionToken,
  listSessionEvents,
  cancelTurn,
  renameSession,
  deleteSession,
  listSchedules,
  getSchedule,
  putSchedule,
  deleteSchedule,
  pauseSchedule("pause"),
  pauseSchedule("resume"),
  runSchedule,
  createTrigger,
  listTriggers,
  getTrigger,
  putTrigger,
  deleteTrigger,
  fireTrigger,
  createUpload,
  getUpload,
  deleteUpload,
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
  listDefinitions("mcp_servers"),
  getDefinition("mcp_servers"),
  putDefinition("mcp_servers"),
  deleteDefinition("mcp_servers"),
  listProviderKeys,
  getProviderKey,
  putProviderKey,
  deleteProviderKey,
  listModels,
  listEndpoints,
  getEndpoint,
  putEndpoint,
  deleteEndpoint,
  rotateSecret,
  enableEndpoint,
  testEndpoint,
  getQueueStats,
  getMetrics,
  listWorkers,
  // Clients of the predecessor system use the second prefix.
  ...["/scale", "/api/scale"].flatMap((prefix) => [
    listTenants(prefix),
    saveTenant(prefix),
    getTenant(prefix),
    changeTenant(prefix),
    deleteTenant(prefix),
    getUsage(prefix),
    listApiKeys(prefix),
    createApiKey(prefix),
    rotateApiKey(prefix),
    revokeApiKey(prefix),
    listAudit(prefix),
    listWorkersAt(prefix),
    getWorkerHealth(prefix),
    drainWorker(prefix),
    removeWorker(prefix),
    getQueue(prefix),
    changeLane(prefix),
    getAnalytics(prefix),
    getConfig(prefix),
    changeConfig(prefix, "put"),
    changeConfig(prefix, "patch"),
    listMasterKeys(prefix),
    testStoreAt(prefix, "redis"),
    testStoreAt(prefix, "postgres"),
    testS3At(prefix),
    testSmtp(prefix),
    listDeadLetters(prefix),
    retryDeadLetters(prefix),
    getDeadLetter(prefix),
    retryDeadLetter(prefix),
    deleteDeadLetter(prefix),
    listRunsAt(prefix),
    listDeliveries(prefix),
    listMails(prefix),
    retryMail(prefix),
    getMailServer(prefix),
    saveMailServer(prefix),
    deleteMailServer(prefix),
    redeliver(prefix),
    syncBundle(prefix),
    getSyncStatus(prefix),
    listBudgets(prefix),
    saveBudget(prefix),
    deleteBudget(prefix),
    saveModelPrice(prefix),
    deleteModelPrice(prefix),
    listProviderLimits(prefix),
    saveProviderLimit(prefix),
    deleteProviderLimit(prefix),
  ]),
  callState,
  health,
  openapi,
  redirectToDocs,
];
