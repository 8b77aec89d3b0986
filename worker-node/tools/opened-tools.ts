import { z } from "zod";
import { parseTool } from "../../shared/contracts/definition/index.ts";
import type { Parsed, Tool } from "../../shared/contracts/definition/index.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { openSecrets } from "./open-secrets.ts";

/** The name and the owner of a tool, which its row adds to the definition. */
const Row = z.object({ name: z.string(), owner: z.string().default(SHARED) });

/** A definition may stay in memory for as long as the worker lives, also that of a tool that was deleted. */
const KEPT_MS = 60_000;

/**
 * Stored tools as calls use them: with their secrets, and parsed. A stored tool is opened once a minute at most, while its definition does
 * not change (docs/protocol.md 5.29). No other part of a worker has the secrets.
 */
export class OpenedTools {
  readonly #masterKey: MasterKeys | null;
  #tools = new WeakMap<JsonObject, Parsed<Tool> | Promise<Parsed<Tool>>>();
  /** Whether a timer will drop the opened tools. */
  #isTimed = false;

  constructor(masterKey: MasterKeys | null) {
    this.#masterKey = masterKey;
  }

  /**
   * The tool, at once if it has been opened before.
   * @throws RetryableError `tool_sealed`: the next call tries to open it again
   */
  of(stored: JsonObject): Parsed<Tool> | Promise<Parsed<Tool>> {
    const known = this.#tools.get(stored);
    if (known !== undefined) return known;
    const opening = this.#open(stored);
    this.#keep(stored, opening);
    return opening;
  }

  async #open(stored: JsonObject): Promise<Parsed<Tool>> {
    try {
      const opened = parseTool(await openSecrets(this.#masterKey, Row.parse(stored), stored));
      this.#keep(stored, opened);
      return opened;
    } catch (error) {
      this.#tools.delete(stored);
      throw error;
    }
  }

  #keep(stored: JsonObject, tool: Parsed<Tool> | Promise<Parsed<Tool>>): void {
    this.#tools.set(stored, tool);
    if (this.#isTimed) return;
    this.#isTimed = true;
    setTimeout(() => {
      this.#isTimed = false;
      this.#tools = new WeakMap();
    }, KEPT_MS).unref();
  }
}
