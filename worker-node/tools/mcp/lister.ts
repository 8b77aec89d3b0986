import { JsonRecord } from "../../../shared/contracts/json.ts";
import { log, messageOf } from "../../../shared/log.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import type { McpTools } from "./mcp-tools.ts";

/** A saved server is listed within about this time. */
const PASS_MS = 5_000;
/** Servers that this worker lists at once. */
const SLOTS = 4;

/**
 * Lists the tools of MCP servers that were saved, so that their authors see them, or what is wrong, before a run needs them. Workers
 * do it, because the edge cannot judge the address to which a name leads. A server whose worker dies meanwhile is taken by another.
 */
export class McpLister {
  readonly #store: Pick<StateStore, "claimMcpListings">;
  readonly #tools: McpTools;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #pass: Promise<void> | null = null;

  constructor(store: Pick<StateStore, "claimMcpListings">, tools: McpTools) {
    this.#store = store;
    this.#tools = tools;
  }

  start(): void {
    this.#timer = setInterval(() => this.pass(), PASS_MS);
    this.pass();
  }

  /** Lists servers until none is left, unless a pass is under way. */
  pass(): void {
    this.#pass ??= this.#runPass()
      .catch((error: unknown) => log.warn("mcp.pass_failed", { message: messageOf(error) }))
      .finally(() => (this.#pass = null));
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort(new Error("the worker stops"));
    await this.#pass;
  }

  async #runPass(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const servers = await this.#store.claimMcpListings(SLOTS);
      if (servers.length === 0) return;
      await Promise.allSettled(
        servers.map(({ id, owner, version, definition }) => {
          const stored = JsonRecord.parse({ ...JSON.parse(definition), name: id, owner, version });
          return this.#tools.list(stored, this.#stop.signal);
        }),
      );
    }
  }
}
