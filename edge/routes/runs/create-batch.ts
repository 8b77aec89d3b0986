import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { MAX_BATCH_ITEMS } from "../../../shared/contracts/batch.ts";
import { DefinitionId, TenantId, plainName } from "../../../shared/contracts/ids.ts";
import { leastQuota } from "../../../shared/contracts/quota.ts";
import type { QuotaState } from "../../../shared/contracts/quota.ts";
import type { SubmitResult } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { readOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import { saveBatchOutcome } from "../../../shared/store/runs/batches.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { limitBodyMemory, withinBodyMemory } from "../../http/body-memory.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { refuseDeletedTenant } from "../../http/require-tenant.ts";
import { LENIENT, prefers } from "../../http/prefer.ts";
import { unknownFields } from "../../http/unknown-names.ts";
import { readItems } from "../../runs/batch-items.ts";
import type { BatchItem } from "../../runs/batch-items.ts";
import { beginBatch, hasBegun } from "../../runs/begin-batch.ts";
import type { BatchRequest } from "../../runs/begin-batch.ts";
import { BatchAccepted, batchUrls } from "../../runs/batch-view.ts";
import type { ItemAnswer } from "../../runs/batch-view.ts";
import { cancelSuperseded } from "../../runs/cancel-superseded.ts";
import type { Services } from "../../services.ts";
import { RunRequest } from "../../runs/run-request.ts";

const Body = z
  .object({
    tenant_id: TenantId.nullish(),
    items: z
      .array(z.unknown())
      .min(1, "must have at least one item")
      .max(MAX_BATCH_ITEMS, `must have at most ${MAX_BATCH_ITEMS} items`)
      .meta({ description: "Each item is the body of POST /orchestrations/{id}/run" }),
  })
  .meta({ id: "BatchRequest" });

/** How each item is read, after the body. */
const Items = z.object({ items: z.array(RunRequest) });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/{id}/runs:batch",
  operationId: "createBatch",
  tags: ["Runs"],
  summary: "Start up to 1,000 runs",
  description:
    "Each item is answered for itself: a wrong or refused item keeps no other from starting. With an `Idempotency-Key` the " +
    "request may be repeated: items that have started a run are answered with it, the others are submitted again; when all have, " +
    "`Idempotent-Replayed` is true. Another item under the key is refused; another number of items, or another orchestration, is a " +
    "409; neither changes the batch. 24 hours after the first request the key begins a new batch.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), limitBodyMemory, jsonBody({ schema: Body, values: Items })] as const,
  request: {
    params: z.object({ id: DefinitionId }),
    headers: z.object({ "idempotency-key": plainName(255).optional() }),
    body: { required: true, content: { "application/json": { schema: Body } } },
  },
  responses: {
    202: json(BatchAccepted, "The answers of the items"),
    ...problems(400, 404, 409, 413, 415, 429),
  },
});

export function createBatch(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const principal = c.get("principal");
    const { tenant_id, items } = c.req.valid("json");
    const orchestration = c.req.valid("param").id;
    const key = c.req.valid("header")["idempotency-key"] ?? null;
    const tenant = tenantOf(principal, tenant_id ?? undefined, services.config.DEFAULT_TENANT_ID);
    // The keys of a tenant are revoked with it. The batch is saved before its runs are admitted.
    if (principal.tenant === null) await refuseDeletedTenant(services.sql, tenant);
    const isLenient = prefers(c, LENIENT);
    const acceptItems = () => acceptBatch(services, { orchestration, tenant, key, isLenient }, items);
    const { batch_id, answers, quota, replayed } = await (principal.tenant === null
      ? withinBodyMemory(c, tenant, acceptItems)
      : acceptItems());
    if (isLenient && items.some((item) => unknownFields(RunRequest, item).length > 0))
      c.header("Preference-Applied", LENIENT);
    if (quota.length > 0) c.set("quota", leastQuota(quota));
    if (replayed === items.length) c.header("Idempotent-Replayed", "true");
    const [skipped, refused] = [withStatus(answers, "skipped").length, withStatus(answers, "refused").length];
    const accepted = answers.length - skipped - refused;
    return c.json({ batch_id, ...batchUrls(batch_id), accepted, skipped, refused, items: answers }, 202);
  });
}

/**
 * Submits the items of a batch, and saves which did not start a run.
 * @throws AppError `not_found` when there is no such orchestration; `idempotency_conflict` as `beginBatch`
 */
async function acceptBatch(
  services: Services,
  { orchestration, tenant, key, isLenient }: Omit<BatchRequest, "total"> & { isLenient: boolean },
  items: readonly unknown[],
) {
  const { sql, submit } = services;
  const definition = await readOrchestration(sql, tenant, orchestration);
  if (definition === null && !(await hasBegun(sql, { tenant, key }))) {
    throw new AppError("not_found", `There is no orchestration ${orchestration}.`);
  }
  const total = items.length;
  const { batch_id, keyOfItem } = await beginBatch(sql, { orchestration, tenant, key, total });
  const batch = { id: batch_id, orchestration, tenant, keyOfItem, isLenient };
  const read = await readItems(items, batch, services);
  // All runs are submitted at once: the intake object admits, commits and enqueues up to 128 of them together.
  const quota: QuotaState[] = [];
  let replayed = 0;
  const answers = await Promise.all(
    read.map(async (item): Promise<ItemAnswer> => {
      if ("error" in item) return refusedItem(item.index, item.error);
      const result = await submit(item.run).catch(asRefusal);
      quota.push(...(result.quota ?? []));
      if (result.is === "accepted" && result.replayed) replayed += 1;
      if (result.is === "accepted" && !result.replayed && !result.skipped)
        cancelSuperseded(services, item.run);
      return answerOf(item, result);
    }),
  );
  const refused = withStatus(answers, "refused");
  await saveBatchOutcome(sql, batch_id, {
    refused: refused
      .filter((item) => !isConflict(item))
      .map(({ index, code, detail }) => ({ index, code, detail })),
    skipped: withStatus(answers, "skipped").map(({ index, run_id }) => ({ index, run_id })),
    kept: new Set(refused.filter(isConflict).map(({ index }) => index)),
  });
  return { batch_id, answers, quota, replayed };
}

/** Whether an item is another one than that of the request which used the Idempotency-Key first: it changes nothing of the batch. */
function isConflict({ code }: { code: string }): boolean {
  return code === "idempotency_conflict";
}

function withStatus<Status extends ItemAnswer["status"]>(answers: readonly ItemAnswer[], status: Status) {
  return answers.filter(
    (answer): answer is Extract<ItemAnswer, { status: Status }> => answer.status === status,
  );
}

function answerOf({ index }: BatchItem, result: SubmitResult): ItemAnswer {
  if (result.is === "accepted") {
    return { index, status: result.skipped ? "skipped" : "queued", run_id: result.run_id };
  }
  return {
    index,
    status: "refused",
    code: result.code,
    detail: result.detail,
    ...(result.retryAfterSeconds !== undefined && { retry_after_seconds: result.retryAfterSeconds }),
  };
}

function refusedItem(index: number, { code, message, fields }: AppError): ItemAnswer {
  return { index, status: "refused", code, detail: message, ...(fields && { errors: fields }) };
}

/** The refusal of an item whose call to the intake object failed: it is unknown whether its run was committed. */
function asRefusal(error: unknown): SubmitResult {
  if (!(error instanceof AppError)) throw error;
  const { code, message: detail, retryAfterSeconds } = error;
  return { is: "refused", code, detail, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
}
