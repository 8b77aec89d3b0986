import { setTimeout as sleep } from "node:timers/promises";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { Reference } from "../../shared/contracts/journal-entry.ts";
import { log, messageOf } from "../../shared/log.ts";
import { within } from "./stop.ts";

/** Values whose JSON is longer lie in the object store; state and events hold references to them. */
const INLINE_LIMIT_BYTES = 32 * 1024;
const PREVIEW_CHARS = 200;
const PUT_PAUSES_MS = [200, 1_000, 3_000];
/** With its repetitions, where nothing else bounds it. */
const PUT_MS = 8_000;

/** Where large values lie. */
export type ObjectStore = {
  put(key: string, body: string, contentType: string): Promise<void>;
  get(key: string): Promise<string>;
};

/**
 * Keeps what is large out of Postgres and Redis. `prefix` is `tenant/run/step/visit.attempt`: an attempt of its own
 * in every key, so that a fenced worker cannot overwrite what a later attempt committed.
 *
 * Without an object store values stay where they are: Postgres takes them too, only dearer.
 */
export class LargeValues {
  readonly #store: ObjectStore | null;
  readonly #prefix: string;
  /** What was put already, by its JSON: the same value in state and in an event is one object. */
  readonly #put = new Map<string, Promise<Reference>>();

  constructor(store: ObjectStore | null, prefix: string) {
    this.#store = store;
    this.#prefix = prefix;
  }

  /** An object's values, each replaced by a reference if it is large. */
  async outOf(values: JsonObject): Promise<JsonObject> {
    const entries = Object.entries(values).map(async ([name, value]): Promise<[string, Json]> => [
      name,
      await this.#small(`set.${name}`, value),
    ]);
    return Object.fromEntries(await Promise.all(entries));
  }

  /** An answer, replaced by a reference if it is large. */
  async outOfResponse(value: Json): Promise<Json> {
    return this.#small("response", value);
  }

  /** Events whose large fields are references. */
  async outOfEvents(events: readonly RunEvent[]): Promise<RunEvent[]> {
    return Promise.all(
      events.map(async (event, index) => {
        if (this.#store === null || JSON.stringify(event).length <= INLINE_LIMIT_BYTES) return event;
        const fields = await Promise.all(
          Object.entries(event).map(async ([name, value]) => {
            const json = JsonValue.safeParse(value);
            return [name, json.success ? await this.#small(`event.${index}.${name}`, json.data) : value];
          }),
        );
        return { ...event, ...Object.fromEntries(fields) };
      }),
    );
  }

  async #small(name: string, value: Json): Promise<Json> {
    if (this.#store === null) return value;
    if (typeof value === "string" && value.length <= INLINE_LIMIT_BYTES / 4) return value;
    if (value === null || typeof value === "number" || typeof value === "boolean") return value;
    const json = JSON.stringify(value);
    const size = Buffer.byteLength(json);
    if (size <= INLINE_LIMIT_BYTES) return value;
    const known = this.#put.get(json);
    if (known) return known;
    const key = `${this.#prefix}/${encodeURIComponent(name)}`;
    const preview = (typeof value === "string" ? value : json).slice(0, PREVIEW_CHARS);
    const reference: Reference = { $ref: key, size, content_type: "application/json", preview };
    const put = putPatiently(this.#store, key, json).then(() => reference);
    // At once, so that the same value under another name waits for this one.
    this.#put.set(json, put);
    return put;
  }
}

/** A store that is away for a moment costs a moment, not the answer of a model that was paid for. */
async function putPatiently(store: ObjectStore, key: string, json: string): Promise<void> {
  for (const pauseMs of PUT_PAUSES_MS) {
    try {
      return await store.put(key, json, "application/json");
    } catch (error) {
      log.warn("object.put_delayed", { key, message: messageOf(error) });
      await sleep(pauseMs);
    }
  }
  await store.put(key, json, "application/json");
}

/** An event that is shown before anything is stored: its large fields are cut to what they begin with. */
export function shortened(event: RunEvent): RunEvent {
  if (JSON.stringify(event).length <= INLINE_LIMIT_BYTES) return event;
  const fields = Object.entries(event).map(([name, value]) => {
    const json = typeof value === "string" ? value : JSON.stringify(value);
    if (json.length <= INLINE_LIMIT_BYTES / 4) return [name, value];
    const preview = json.slice(0, PREVIEW_CHARS);
    return [
      name,
      typeof value === "string" ? `${preview}…` : { preview, size: json.length, truncated: true },
    ];
  });
  return { ...event, ...Object.fromEntries(fields) };
}

/**
 * The value behind a reference of `tenant`, or the value itself. State is what clients and models wrote: what looks
 * like a reference to anything but an object of the tenant's own is a value like others.
 */
export async function loadValue(store: ObjectStore | null, value: Json, tenant: string): Promise<Json> {
  const reference = Reference.safeParse(value);
  if (!reference.success || !isKeyOf(tenant, reference.data.$ref)) return value;
  if (store === null) throw new Error("a value lies in the object store, and this worker has none");
  return JsonValue.parse(JSON.parse(await store.get(reference.data.$ref)));
}

/** Some stores read `..` in a key as a path. */
function isKeyOf(tenant: string, key: string): boolean {
  const [first, ...rest] = key.split("/");
  return first === tenant && rest.every((part) => part !== "" && part !== "." && part !== "..");
}

/**
 * What is small once the object store has what was large; or, when that fails or takes long, as it is: Postgres takes
 * large values too, and no run waits for a store that is away.
 */
export async function ifStored<Values>(small: Promise<Values>, large: Values): Promise<Values> {
  return within(AbortSignal.timeout(PUT_MS), small).catch((error: unknown) => {
    log.warn("object.put_given_up", { message: messageOf(error) });
    return large;
  });
}
