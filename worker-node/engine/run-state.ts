import type { Step } from "../../shared/contracts/definition/index.ts";
import { codeOf, scriptOfCode } from "../../shared/contracts/definition/code.ts";
import { stateKeysReachedBy } from "../../shared/contracts/definition/state-keys.ts";
import { FileReference } from "../../shared/contracts/artifact.ts";
import { Reference } from "../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

type Load = (value: Json) => Promise<Json>;
/** A value that may have to be loaded: most are there at once. */
type Found = Json | undefined | Promise<Json | undefined>;

/**
 * The value at `path` inside `value`; undefined where there is none. References on the way are loaded. A file at the end of the path
 * is loaded too, as text; before the end it is its reference, whose fields a path may name.
 */
export function valueAt(value: Json, path: readonly string[], load: Load): Found {
  const found = valueOrFileAt(value, path, load);
  return found instanceof Promise ? found.then((behind) => textOf(behind, load)) : textOf(found, load);
}

/** As `valueAt`, but a file at the end of the path stays its reference: for a step that passes values on and reads no text. */
export function valueOrFileAt(value: Json, path: readonly string[], load: Load): Found {
  if (!isValueReference(value)) return valueBelow(value, path, load);
  return load(value).then((behind) => valueBelow(behind, path, load));
}

function valueBelow(value: Json, path: readonly string[], load: Load): Found {
  const [part, ...rest] = path;
  if (part === undefined) return value;
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
  const inner = Array.isArray(value) ? value[Number(part)] : value[part];
  return inner === undefined ? undefined : valueOrFileAt(inner, rest, load);
}

function textOf(found: Json | undefined, load: Load): Found {
  return found !== undefined && isFileReference(found) ? load(found) : found;
}

/**
 * The part of state that the code of a step can reach, with the values of its references, also of those in lists that loops have made.
 * Files stay references. What the code cannot reach is neither loaded nor written as JSON for the sandbox: that takes this thread 5 ms
 * for each MB, and a state may have 16.
 */
export async function stateForCode(
  step: Step,
  { state, load }: { state: Readonly<JsonObject>; load: Load },
): Promise<JsonObject> {
  const reached = keysReachedBy(step);
  const entries = Object.entries(state)
    .filter(([key]) => reached?.has(key) ?? true)
    .map(async ([key, value]): Promise<[string, Json]> => [key, await loaded(value, load)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** By the step, because a definition is kept, and code of 64 KiB takes milliseconds to parse. */
const reachedKeys = new WeakMap<Step, ReadonlySet<string> | null>();

function keysReachedBy(step: Step): ReadonlySet<string> | null {
  const known = reachedKeys.get(step);
  if (known !== undefined) return known;
  const code = codeOf(step);
  const keys = code === null ? null : stateKeysReachedBy(scriptOfCode(code).script);
  reachedKeys.set(step, keys);
  return keys;
}

async function loaded(value: Json, load: (value: Json) => Promise<Json>): Promise<Json> {
  if (isValueReference(value)) return load(value);
  if (!Array.isArray(value) || !value.some(isValueReference)) return value;
  // No reference is deeper: a value of a result over 32 KiB is one reference as a whole.
  return Promise.all(value.map((item) => loaded(item, load)));
}

/** True for a reference to a large value of a run, false for one to a file. */
function isValueReference(value: Json): boolean {
  return hasReference(value) && !isFileReference(value) && Reference.safeParse(value).success;
}

function isFileReference(value: Json): boolean {
  return hasReference(value) && FileReference.safeParse(value).success;
}

function hasReference(value: Json): boolean {
  return typeof value === "object" && value !== null && "$ref" in value;
}

/** A value as a prompt or a template shows it: text as it is, null as nothing, any other value as JSON. */
export function asText(value: Json): string {
  if (typeof value === "string") return value;
  return value === null ? "" : JSON.stringify(value);
}

/** What a step with this value writes into state: the value under the step's `output_key`, if it has one. */
export function outputOf(step: Step, value: Json): JsonObject {
  return step.output_key === null ? {} : { [step.output_key]: value };
}
