import { JsonRecord } from "../../../shared/contracts/json.ts";
import { log, messageOf } from "../../../shared/log.ts";
import type { EndedMcpTask } from "../../../shared/store/definitions/mcp-tasks.ts";
import type { StoredMcpServer } from "../../../shared/store/definitions/mcp-servers.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import type { McpTools } from "./mcp-tools.ts";

/** A saved server is listed, and the end of a run looked at, within about this time. */
const PASS_MS = 5_000;
/** Servers that this worker lists at once. */
const SLOTS = 4;
/** A task whose cancel has failed so often at its server is forgotten. */
const MAX_TRIES = 5;

type Store = Pick<StateStore, "claimMcpListings" | "claimEndedMcpTasks" | "forgetMcpTask">;

/**
 * What workers do with MCP servers beside the calls of runs. They list the tools of servers that were saved, so that their authors see
 * them, or what is wrong, before a run needs them: the edge cannot judge the address to which a name leads. And they cancel the tasks of
 * runs that have ended, by a client's cancel or otherwise. What a worker that dies has taken, another worker takes.
 */
export class McpUpkeep {
  readonly #store: Store;
  readonly #tools: Pick<McpTools, "list" | "cancelTask">;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #pass: Promise<void> | null = null;

  constructor(store: Store, tools: Pick<McpTools, "list" | "cancelTask">) {
    this.#store = store;
    this.#tools = tools;
  }

  start(): void {
    this.#timer = setInterval(() => void this.pass(), PASS_MS);
    void this.pass();
  }

  /** Does what is to be done until nothing is left, unless a pass is under way. */
  pass(): Promise<void> {
    return (this.#pass ??= this.#runPass()
      .catch((error: unknown) => log.warn("mcp.pass_failed", { message: messageOf(error) }))
      .finally(() => (this.#pass = null)));
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort(new Error("the worker stops"));
    await this.#pass;
  }

  async #runPass(): Promise<void> {
    const ended = await this.#store.claimEndedMcpTasks();
    await Promise.all(ended.map((task) => this.#cancel(task)));
    while (!this.#stop.signal.aborted) {
      const servers = await this.#store.claimMcpListings(SLOTS);
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
