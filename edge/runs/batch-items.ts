import { AppError } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import type { Services } from "../services.ts";
import { schemaError, toAppError } from "../http/problem.ts";
import { unknownError, unknownFields } from "../http/unknown-names.ts";
import { RunRequest, checkRequest, toRun } from "./run-request.ts";

/** An item of a batch: the run that it describes, or why it describes none. */
export type BatchItem = { index: number; run: NewRun } | { index: number; error: AppError };

/** The batch of the items. `keyOfItem`: the idempotency key of an item's run. `isLenient`: unknown fields of an item are ignored. */
export type Batch = {
  id: string;
  orchestration: string;
  tenant: TenantId;
  keyOfItem: (index: number) => string | null;
  isLenient: boolean;
};

/** Reads each item of a batch as the body of a run. A wrong item is an error of that item alone. */
export function readItems(
  items: readonly unknown[],
  batch: Batch,
  services: Pick<Services, "config" | "sql">,
): Promise<BatchItem[]> {
  return Promise.all(
    items.map(async (item, index): Promise<BatchItem> => {
      try {
        return { index, run: await readItem(item, index, batch, services) };
      } catch (error) {
        return { index, error: toAppError(error) };
      }
    }),
  );
}

async function readItem(
  item: unknown,
  index: number,
  batch: Batch,
  services: Pick<Services, "config" | "sql">,
): Promise<NewRun> {
  const parsed = RunRequest.safeParse(item);
  if (!parsed.success) throw schemaError(parsed.error);
  const body = parsed.data;
  const unknown = batch.isLenient ? [] : unknownFields(RunRequest, item);
  const fields = [
    ...unknown.map((name) => unknownError(name, "field of an item")),
    ...otherTenant(body, batch.tenant),
  ];
  if (fields.length > 0) throw new AppError("invalid", `Not valid: ${fields[0]?.path}.`, { fields });
  checkRequest(body);
  const request = { id: batch.orchestration, key: batch.keyOfItem(index), body };
  return toRun(request, batch.tenant, services, { batch: { id: batch.id, index } });
}

function otherTenant(body: RunRequest, tenant: TenantId): FieldError[] {
  if (!body.tenant_id || body.tenant_id === tenant) return [];
  return [{ path: "tenant_id", message: "must be the tenant of the batch: send it beside items" }];
}
