import { JsonValue } from "../../shared/contracts/json.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { Reference } from "../../shared/contracts/journal-entry.ts";
import type { ObjectStore } from "./large-values.ts";

/**
 * The value behind a reference of `tenant`, or the value itself. Clients and models write state, so they can forge
 * references: a reference to anything but an object of the tenant's own is an ordinary value.
 */
export async function loadValue(store: ObjectStore | null, value: Json, tenant: string): Promise<Json> {
  const reference = Reference.safeParse(value);
  if (!reference.success || !isKeyOf(tenant, reference.data.$ref)) return value;
  if (store === null) throw new Error("a value is in the object store, and this worker has none");
  const { $ref, size } = reference.data;
  const text = await store.get($ref, size);
  // A forged size would let a state hold more than its budget.
  if (text === null || Buffer.byteLength(text) !== size) return value;
  return JsonValue.parse(JSON.parse(text));
}

/** Checks each part of the key, because some stores read `..` in a key as a path. */
function isKeyOf(tenant: string, key: string): boolean {
  const [first, ...rest] = key.split("/");
  return first === tenant && rest.every((part) => part !== "" && part !== "." && part !== "..");
}
