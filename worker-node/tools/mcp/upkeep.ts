import { JsonRecord } from "../../../shared/contracts/json.ts";
import { log, messageOf } from "../../../shared/log.ts";
import { repeatSpread } from "../../../shared/tasks/repeat-spread.ts";
import type { EndedMcpTask } from "../../../shared/store/definitions/mcp-tasks.ts";
import type { StoredMcpServer } from "../../../shared/store/definitions/mcp-servers.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import type { McpTools } from "./mcp-tools.ts";

/** The longest pause between two passes: within about this time a saved server is listed, and the tasks of an ended run are cancelled. */
const PASS_MS = 5_000;
/** The most servers that this worker lists at the same time. */
const LISTINGS_AT_ONCE = 4;
/** After so many failed cancels at its server a task is forgotten. */
const MAX_TRIES = 5;

type Store = Pick<StateStore, "claimMcpListings" | "claimEndedMcpTasks" | "forgetMcpTask">;

/**
 * What workers do with MCP servers besides the calls of runs. They list the tools of servers that were saved, so that their authors see
 * the tools, or what is wrong, before a run needs them. The edge cannot do that, because it cannot judge the address to which a name
 * leads. And workers cancel the tasks of runs that have ended. When a worker dies, another one takes over what it had claimed.
 */
export class McpUpkeep {
  readonly #store: Store;
  readonly #tools: Pick<McpTools, "list" | "cancelTask">;
  readonly #stop = new AbortController();
  #endRepeats = (): void => {};
  #pass: Promise<void> | null = null;

  constructor(store: Store, tools: Pick<McpTools, "list" | "cancelTask">) {
    this.#store = store;
    this.#tools = tools;
  }

  start(): void {
    this.#endRepeats = repeatSpread(PASS_MS, () => void this.pass());
    void this.pass();
  }

  /** Lists and cancels until nothing is left. A call while a pass is under way joins it. */
  pass(): Promise<void> {
    return (this.#pass ??= this.#runPass()
      .catch((error: unknown) => log.warn("mcp.pass_failed", { message: messageOf(error) }))
      .finally(() => (this.#pass = null)));
  }

  async stop(): Promise<void> {
    this.#endRepeats();
    this.#stop.abort(new Error("the worker stops"));
    await this.#pass;
  }

  async #runPass(): Promise<void> {
    const ended = await this.#store.claimEndedMcpTasks();
    await Promise.all(ended.map((task) => this.#cancel(task)));
    while (!this.#stop.signal.aborted) {
      const servers = await this.#store.claimMcpListings(LISTINGS_AT_ONCE);
      if (servers.length === 0) return;
      await Promise.allSettled(
        servers.map((server) => this.#tools.list(storedOf(server), this.#stop.signal)),
      );
    }
  }

  async #cancel({ definition, version, tries, ...row }: EndedMcpTask): Promise<void> {
    const { owner, server_id: id, run_id, task_id, session_id: session } = row;
    if (definition !== null && version !== null) {
      try {
        await this.#tools.cancelTask(
          storedOf({ id, owner, version, definition }),
          { id: task_id, session },
          this.#stop.signal,
        );
      } catch (error) {
        log.warn("mcp.cancel_failed", { server: id, run_id, message: messageOf(error) });
        if (tries < MAX_TRIES) return;
      }
    }
    await this.#store.forgetMcpTask(run_id, task_id);
  }
}

function storedOf({
  id,
  owner,
  version,
  definition,
}: Pick<StoredMcpServer, "id" | "owner" | "version" | "definition">) {
  return JsonRecord.parse({ ...JSON.parse(definition), name: id, owner, version });
}
