/** Sends definitions to `POST /scale/sync`, in as many requests as its limits demand. */
import { z } from "zod";
import { KINDS, MAX_ENTRIES } from "../../edge/definitions/sync/bundle.ts";
import { SyncResult } from "../../edge/definitions/sync/sync-result.ts";
import { namedCause } from "../../worker-node/outbound/named-cause.ts";
import type { SourceEntry } from "./read-source.ts";

/** Less than the 1 MiB of a body. A definition that is larger is sent alone, and refused by name. */
const MAX_BYTES = 900_000;

type Target = { url: string; key: string; tenant?: string | undefined };
/** `isLenient`: fields that nothing reads are ignored. */
type Changes = { dry_run: boolean; delete: readonly string[]; isLenient?: boolean };
type Result = z.infer<typeof SyncResult>;

/** An error or a warning. `at`: the file, and the path in it. */
export type Finding = { at: string; message: string };
export type Sent = {
  errors: Finding[];
  warnings: Finding[];
  counts: { created: number; updated: number; unchanged: number; deleted: number };
};

/**
 * Saves the definitions, kind by kind, and then deletes those that `changes` names. A repetition changes nothing more, so after an error
 * the whole call can be repeated.
 * @throws Error with the API's response to a request that it refuses as a whole
 */
export async function sendDefinitions(
  target: Target,
  entries: readonly SourceEntry[],
  changes: Changes,
): Promise<Sent> {
  const sent: Sent = {
    errors: [],
    warnings: [],
    counts: { created: 0, updated: 0, unchanged: 0, deleted: 0 },
  };
  const { dry_run, isLenient = false } = changes;
  for (const part of partsOf(entries)) add(sent, part, await post(target, bodyOf(part, dry_run), isLenient));
  for (let at = 0; at < changes.delete.length; at += MAX_ENTRIES) {
    const names = changes.delete.slice(at, at + MAX_ENTRIES);
    add(sent, [], await post(target, { dry_run, delete: names }, isLenient));
  }
  return sent;
}

function partsOf(entries: readonly SourceEntry[]): SourceEntry[][] {
  const parts: SourceEntry[][] = [];
  let bytes = 0;
  for (const entry of entries) {
    const size = Buffer.byteLength(JSON.stringify(entry.json)) + 1;
    const part = parts.at(-1);
    if (part === undefined || part.length === MAX_ENTRIES || bytes + size > MAX_BYTES) {
      parts.push([entry]);
      bytes = size;
    } else {
      part.push(entry);
      bytes += size;
    }
  }
  return parts;
}

function bodyOf(part: readonly SourceEntry[], dry_run: boolean): object {
  const lists = KINDS.map((kind) => [kind, ofKind(part, kind).map(({ json }) => json)]);
  return { dry_run, ...Object.fromEntries(lists) };
}

const ofKind = (part: readonly SourceEntry[], kind: SourceEntry["kind"]) =>
  part.filter((entry) => entry.kind === kind);

async function post({ url, key, tenant }: Target, body: object, isLenient: boolean): Promise<Result> {
  const address = new URL("scale/sync", url.endsWith("/") ? url : `${url}/`);
  if (tenant !== undefined) address.searchParams.set("tenant_id", tenant);
  const answer = await fetch(address, {
    method: "POST",
    headers: {
      authorization: `Bearer ${key}`,
      "content-type": "application/json",
      ...(isLenient && { prefer: "handling=lenient" }),
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  }).catch((error: unknown) => {
    const why = `POST ${address.href} got no answer${namedCause(error)}`;
    throw new Error(`${why}: is the system running, and is its address right?`, { cause: error });
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`POST ${address.href} answered ${answer.status}: ${text}`);
  return SyncResult.parse(JSON.parse(text));
}

function add(sent: Sent, part: readonly SourceEntry[], result: Result): void {
  const findings = (found: Result["warnings"]): Finding[] =>
    found.map(({ kind, id, path, message }) => ({
      at: path.startsWith("delete") ? `--delete ${kind}/${id}` : placeOf(path, part),
      message,
    }));
  sent.errors.push(...findings(result.errors));
  sent.warnings.push(...findings(result.warnings));
  for (const kind of KINDS) {
    const { created, updated, unchanged, deleted } = result.details[kind];
    sent.counts.created += created;
    sent.counts.updated += updated;
    sent.counts.unchanged += unchanged;
    sent.counts.deleted += deleted;
  }
}

/** A path in the request, `agents[2].tools[0]`, as a place in the files. */
function placeOf(path: string, part: readonly SourceEntry[]): string {
  const [, list = "", index = "", rest = ""] = /^(\w+)\[(\d+)\]\.?(.*)$/s.exec(path) ?? [];
  const kind = KINDS.find((one) => one === list);
  const at = kind === undefined ? undefined : ofKind(part, kind)[Number(index)]?.at;
  if (at === undefined) return path;
  return rest === "" ? at : `${at}: ${rest}`;
}
