import { pathText } from "../../shared/errors.ts";
import { AppError } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { likelyName } from "../../shared/nearest-name.ts";
import type { Services } from "../services.ts";
import { schemaError, toAppError } from "../http/problem.ts";
import { idempotencyKeyOf } from "./idempotency-key.ts";
import { RunRequest, checkRequest, toRun } from "./run-request.ts";

/** An item of a batch: the run that it describes, or why it describes none. */
export type BatchItem = { index: number; run: NewRun } | { index: number; error: AppError };

/** The batch of the items. `key`: the request's Idempotency-Key. `isLenient`: unknown fields of an item are ignored. */
type Batch = {
  id: string;
  orchestration: string;
  tenant: TenantId;
  key: string | null;
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
  const fields = [...(batch.isLenient ? [] : unknownFields(body)), ...otherTenant(body, batch.tenant)];
  if (fields.length > 0) throw new AppError("invalid", `Not valid: ${fields[0]?.path}.`, { fields });
  checkRequest(body);
  const key = batch.key === null ? null : idempotencyKeyOf("batch", batch.key, index);
  const request = { id: batch.orchestration, key, body };
  return toRun(request, batch.tenant, services, { batch: { id: batch.id, index } });
}

const known: readonly string[] = Object.keys(RunRequest.shape);

/** The names of an item's fields that the request of a run does not have. */
export function unknownNames(item: unknown): string[] {
  if (typeof item !== "object" || item === null) return [];
  return Object.keys(item).filter((name) => !known.includes(name));
}

function unknownFields(body: RunRequest): FieldError[] {
  return unknownNames(body)
    .slice(0, 5)
    .map((name) => {
      const nearest = likelyName(name, known);
      const hint = nearest === null ? `the fields are ${known.join(", ")}` : `did you mean ${nearest}?`;
      return { path: pathText([name]), message: `is no field of an item: ${hint}` };
    });
}

function otherTenant(body: RunRequest, tenant: TenantId): FieldError[] {
  if (!body.tenant_id || body.tenant_id === tenant) return [];
  return [{ path: "tenant_id", message: "must be the tenant of the batch: send it beside items" }];
}
