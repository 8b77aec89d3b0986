import { mailServerPlace } from "../../shared/contracts/mail-server.ts";
import { providerKeyPlace } from "../../shared/contracts/provider-key.ts";
import { endpointPlace } from "../../shared/contracts/webhook-endpoint.ts";
import { SECRET_SETTINGS, settingPlace } from "../../shared/contracts/setting.ts";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { log } from "../../shared/log.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { SealError, keyIdOf, seal, sealedPlace, unseal } from "../../shared/security/seal.ts";
import {
  readStoredTool,
  sealedNameOfServer,
  sealedOf,
  storedText,
  toolPlace,
  withoutSealed,
} from "../../shared/security/sealed-tool.ts";
import { triggerPlace } from "../../shared/store/triggers/trigger-rows.ts";
import { SealedColumn } from "../../shared/store/sealed/sealed-values.ts";
import type {
  KeyUse,
  ResealedRow,
  SealedPosition,
  SealedRow,
} from "../../shared/store/sealed/sealed-values.ts";
import type { RepairDeps } from "./reconciler-deps.ts";

/**
 * The pause after a look that changed nothing. The next look finds a value that an older process has sealed under the old key meanwhile.
 */
const PERIOD_MS = 600_000;
/** The most pages of one pass, because the pass has other repairs too. */
const PAGES_PER_PASS = 5;

/** What a look has counted so far, by the ids of the keys. */
type Found = Map<string, KeyUse>;

/**
 * docs/protocol.md 5.11. Guarantee: while a worker has MASTER_KEYS, every sealed value comes under the key that seals, and the counts in
 * `master_key_uses` say when another key has none left. A look at all values goes on from pass to pass; a worker that
 * becomes the reconciler begins a new one, so that its counts are those of a whole look.
 */
export class Reseal {
  readonly #deps: Pick<RepairDeps, "store" | "repairs">;
  readonly #keys: MasterKeys | null;
  #position: SealedPosition | null = null;
  #found: Found = new Map();
  #beganMs = 0;
  #changed = 0;
  #nextMs = 0;

  /** `keys` null: this worker has no MASTER_KEYS, so there is nothing to rotate. */
  constructor(deps: Pick<RepairDeps, "store" | "repairs" | "masterKeys">) {
    this.#deps = deps;
    this.#keys = deps.masterKeys ?? null;
  }

  /** Forgets the look under way: another worker was the reconciler meanwhile. */
  reset(): void {
    this.#position = null;
  }

  /** @returns true while a look is under way */
  async pass(): Promise<boolean> {
    if (this.#keys === null) return false;
    if (this.#position === null) {
      if (performance.now() < this.#nextMs) return false;
      this.#begin();
    }
    for (let page = 0; page < PAGES_PER_PASS && this.#position !== null; page++)
      await this.#page(this.#keys, this.#position);
    if (this.#position !== null) return true;
    await this.#end();
    return false;
  }

  #begin(): void {
    this.#position = { column: "run", key: "", key2: "" };
    this.#found = new Map();
    this.#beganMs = performance.now();
    this.#changed = 0;
  }

  async #page(keys: MasterKeys, position: SealedPosition): Promise<void> {
    const { store, repairs } = this.#deps;
    const { rows, next } = await store.readSealed(position);
    const changed: ResealedRow[] = [];
    for (const row of rows) {
      const after = await resealed(keys, position.column, row, this.#found);
      if (after !== row.text) changed.push({ key: row.key, key2: row.key2, before: row.text, after });
    }
    if (changed.length > 0) {
      const replaced = await store.replaceSealed(position.column, changed);
      repairs.resealed += replaced;
      this.#changed += changed.length;
    }
    this.#position = next ?? columnAfter(position.column);
  }

  async #end(): Promise<void> {
    const uses = [...this.#found.values()];
    await this.#deps.store.saveKeyUses(uses, performance.now() - this.#beganMs);
    // After a look that changed something another one counts what is left, also in the rows that were locked.
    if (this.#changed === 0) this.#nextMs = performance.now() + PERIOD_MS;
    if (this.#changed > 0) log.info("secrets.resealed", { rows: this.#changed });
    const unreadable = uses.reduce((sum, use) => sum + use.unreadable, 0);
    if (unreadable > 0) log.warn("secrets.unreadable", { count: unreadable });
  }
}

function columnAfter(column: SealedColumn): SealedPosition | null {
  const next = SealedColumn.options[SealedColumn.options.indexOf(column) + 1];
  return next === undefined ? null : { column: next, key: "", key2: "" };
}

/** The text of a row with each of its values under the key that seals. A value that does not open stays as it is. */
async function resealed(
  keys: MasterKeys,
  column: SealedColumn,
  row: SealedRow,
  found: Found,
): Promise<string> {
  // Only some settings are secrets.
  if (column === "setting" && !SECRET_SETTINGS.has(row.key)) return row.text;
  if (column !== "tool" && column !== "mcp_server")
    return valueOf(keys, row.text, placeOf(column, row), found);
  const stored = readStoredTool(row.text);
  const sealed = sealedOf(stored);
  // A tool that was saved before secrets were sealed: the edge's cron seals it.
  if (sealed === null) return row.text;
  const tool = { owner: row.key, name: column === "tool" ? row.key2 : sealedNameOfServer(row.key2) };
  const values = Object.entries(sealed).map(
    async ([path, value]) => [path, await valueOf(keys, value, toolPlace(tool, path), found)] as const,
  );
  const after = Object.fromEntries(await Promise.all(values));
  const isSame = Object.entries(after).every(([path, value]) => value === sealed[path]);
  return isSame ? row.text : storedText(withoutSealed(stored), after);
}

async function valueOf(keys: MasterKeys, sealed: string, place: string, found: Found): Promise<string> {
  let id = "unknown";
  try {
    id = keyIdOf(sealed);
    if (id === keys.writer) return counted(found, id, sealed);
    const after = await seal(keys, await unseal(keys, sealed, place), place);
    return counted(found, keys.writer, after);
  } catch (error) {
    if (!(error instanceof SealError)) throw error;
    return counted(found, id, sealed, 1);
  }
}

/** Counts a sealed value under its key, and returns the value. */
function counted(found: Found, key_id: string, sealed: string, unreadable = 0): string {
  const use = found.get(key_id) ?? { key_id, values: 0, unreadable: 0 };
  found.set(key_id, { key_id, values: use.values + 1, unreadable: use.unreadable + unreadable });
  return sealed;
}

function placeOf(column: Exclude<SealedColumn, "tool" | "mcp_server">, row: SealedRow): string {
  switch (column) {
    case "run":
      return sealedPlace(row.key, SECRET_FIELD);
    case "delivery":
      return row.of_endpoint === null
        ? sealedPlace(row.of_run ?? "", SECRET_FIELD)
        : endpointPlace(row.of_tenant ?? "", row.of_endpoint);
    case "endpoint":
    case "endpoint_before":
      return endpointPlace(row.key, row.key2);
    case "trigger":
      return triggerPlace(row.key);
    case "mail_server":
      return mailServerPlace(row.key);
    case "provider_key":
      return providerKeyPlace(row.key, row.key2);
    case "setting":
      return settingPlace(row.key);
  }
}
