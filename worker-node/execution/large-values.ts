import { FileReference, artifactUrl } from "../../shared/contracts/artifact.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { Reference } from "../../shared/contracts/journal-entry.ts";
import { firstChars } from "../../shared/text/first-chars.ts";
import { fitsIn } from "../../shared/events/lines.ts";
import { log, messageOf } from "../../shared/log.ts";
import { LIMITS, getWithin, putWithRetries, withoutStore } from "./object-store.ts";
import type { Limits, ObjectStore } from "./object-store.ts";
import { loadText } from "../files/text-file.ts";
import { abortable } from "./stop.ts";

/** A value whose JSON is longer goes to the object store; state and events hold a reference to it. */
export const INLINE_LIMIT_BYTES = 32 * 1024;
const PREVIEW_CHARS = 200;
/** All tries of a put together at the beginning and the end of a run, where the values can stay inline. */
const OPTIONAL_PUT_MS = 8_000;
/**
 * Keeps large values out of Postgres and Redis. `prefix` is `tenant/run/step/visit.attempt`. The attempt is in every key,
 * so a fenced worker cannot overwrite what a later attempt committed.
 *
 * Without an object store values stay where they are: Postgres takes them too, at a higher cost.
 */
export class LargeValues {
  readonly #current: () => ObjectStore | null;
  readonly prefix: string;
  readonly #limits: Limits;
  readonly #signal: AbortSignal | null;
  /** Values that were put, by their JSON: the same value in state and in an event is one object. */
  readonly #put = new Map<string, Promise<Reference>>();

  /**
   * @param current returns the object store of this moment: a visit may last longer than the store is the same
   * @param signal ends the waits for puts; a put itself goes on to its own limit
   */
  constructor(
    current: () => ObjectStore | null,
    prefix: string,
    limits: Limits = LIMITS,
    signal: AbortSignal | null = null,
  ) {
    this.#current = current;
    this.prefix = prefix;
    this.#limits = limits;
    this.#signal = signal;
  }

  /** The object with its large values replaced by references; at once, if it has none. */
  storeValues(values: JsonObject): JsonObject | Promise<JsonObject> {
    if (this.#current() === null || !Object.values(values).some(mayBeLarge)) return values;
    return this.#storeEach(values);
  }

  async #storeEach(values: JsonObject): Promise<JsonObject> {
    const entries = Object.entries(values).map(async ([name, value]): Promise<[string, Json]> => [
      name,
      await this.#small(`set.${name}`, value),
    ]);
    return Object.fromEntries(await Promise.all(entries));
  }

  /** A response, or a reference to it if it is large. */
  storeResponse(value: Json): Json | Promise<Json> {
    return this.#current() === null || !mayBeLarge(value) ? value : this.#small("response", value);
  }

  /** The events with their large fields replaced by references; at once, if they have none. */
  storeEvents(events: readonly RunEvent[]): readonly RunEvent[] | Promise<readonly RunEvent[]> {
    if (this.#current() === null || !events.some((event) => Object.values(event).some(mayBeLarge)))
      return events;
    return Promise.all(
      events.map(async (event, index) => {
        if (fitsIn(event, INLINE_LIMIT_BYTES)) return event;
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
    const store = this.#current();
    if (store === null || !mayBeLarge(value)) return value;
    const json = JSON.stringify(value);
    const size = Buffer.byteLength(json);
    if (size <= INLINE_LIMIT_BYTES) return value;
    const known = this.#put.get(json);
    if (known) return known;
    // In a URL the slashes of a key are `~`.
    const key = `${this.prefix}/${encodeURIComponent(name).replaceAll("~", "%7E")}`;
    const preview = firstChars(typeof value === "string" ? value : json, PREVIEW_CHARS);
    const url = artifactUrl(key);
    const reference: Reference = {
      $ref: key,
      size,
      content_type: "application/json",
      preview,
      url,
    };
    const stored = putWithRetries(store, key, json, this.#limits);
    const put = (this.#signal ? abortable(this.#signal, stored) : stored).then(() => reference);
    // Remembered before the put ends, so that the same value under another name waits for this put.
    this.#put.set(json, put);
    return put;
  }
}

/** Whether the JSON of a value may be over the limit, as far as that is known without writing it. */
function mayBeLarge(value: unknown): boolean {
  return typeof value === "string"
    ? value.length > INLINE_LIMIT_BYTES / 4
    : typeof value === "object" && value !== null;
}

/** An event that is published before its values are stored: large fields are cut to their first characters. */
export function shortened(event: RunEvent): RunEvent {
  if (fitsIn(event, INLINE_LIMIT_BYTES)) return event;
  const fields = Object.entries(event).map(([name, value]) => {
    const json = typeof value === "string" ? value : JSON.stringify(value);
    if (json.length <= INLINE_LIMIT_BYTES / 4) return [name, value];
    const preview = firstChars(json, PREVIEW_CHARS);
    return [
      name,
      typeof value === "string" ? `${preview}…` : { preview, size: json.length, truncated: true },
    ];
  });
  return { ...event, ...Object.fromEntries(fields) };
}

/**
 * `small` once the object store has the large values; `large` when that fails or takes longer than 8 s. Postgres takes
 * large values too, and no run waits for an object store that is unreachable.
 */
export function ifStored<Values>(small: Values | Promise<Values>, large: Values): Values | Promise<Values> {
  return small instanceof Promise ? storedInTime(small, large) : small;
}

async function storedInTime<Values>(small: Promise<Values>, large: Values): Promise<Values> {
  // `AbortSignal.timeout` would keep a timer for 8 s after each run.
  const limit = new AbortController();
  const timer = setTimeout(
    () => limit.abort(new Error(`the object store has not taken the values in ${OPTIONAL_PUT_MS} ms`)),
    OPTIONAL_PUT_MS,
  );
  try {
    return await abortable(limit.signal, small);
  } catch (error) {
    log.warn("object.put_abandoned", { message: messageOf(error) });
    return large;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The value behind a reference of `tenant`, or the value itself. Clients and models write state, so they can forge
 * references: a reference to anything but an object of the tenant's own is an ordinary value.
 * @throws RetryableError `artifacts_away`, TerminalError `artifacts_refused`, `artifact_missing`, or `file_not_text` for a file
 */
export async function loadValue(
  store: ObjectStore | null,
  value: Json,
  tenant: string,
  limits: Limits = LIMITS,
): Promise<Json> {
  const reference = Reference.safeParse(value);
  if (!reference.success || !isKeyOf(tenant, reference.data.$ref)) return value;
  if (store === null) throw withoutStore();
  const { $ref, size } = reference.data;
  const file = FileReference.safeParse(value);
  if (file.success) return loadText(store, file.data, limits);
  const text = await getWithin(store, $ref, size, limits);
  // A forged size would let a state hold more than its budget.
  if (text === null || Buffer.byteLength(text) !== size) return value;
  return jsonIn(text) ?? value;
}

/** The value of a text; undefined: it is no JSON, so a forged reference has led to it. */
function jsonIn(text: string): Json | undefined {
  try {
    return JsonValue.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Checks each part of the key, because some stores read `..` in a key as a path. */
function isKeyOf(tenant: string, key: string): boolean {
  const [first, ...rest] = key.split("/");
  return first === tenant && rest.every((part) => part !== "" && part !== "." && part !== "..");
}
