import type { AboutRun } from "../../../shared/log.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import type { McpOutcome, McpPending, McpRequest } from "../../engine/mcp-pending.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import { waitForStore } from "../../execution/wait-for-store.ts";
import type { ReachedServer } from "./connection-pool.ts";
import type { PendingTask } from "./tasks.ts";

type Store = Pick<StateStore, "saveMcpTask" | "forgetMcpTask">;

/**
 * Tasks that servers have made of calls. Each has a row, from before its first commit in the journal until its end. So any worker can
 * cancel the task when its run ends first, also when the worker that began it has died.
 */
export class RegisteredTasks {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Saves the row of the task that a call has become; does nothing for any other outcome. */
  async register({ is, ...outcome }: McpOutcome, request: McpRequest, to: ReachedServer): Promise<void> {
    const task = is === "waits" && "pending" in outcome ? outcome.pending.task : null;
    if (task === null) return;
    const { owner, name: server_id } = to.access.used;
    const row = { run_id: request.runId, task_id: task.id, session_id: task.session, owner, server_id };
    await waitForStore(aboutCall(request), request.signal, () => this.#store.saveMcpTask(row));
  }

  /** Polls the task of a call once. A task that takes too long is cancelled. @throws as `goOnWithTask`, and `mcp_task_timeout` */
  async goOn(pending: PendingTask, request: McpRequest, reached: ReachedServer): Promise<McpOutcome> {
    const { cancelTask, goOnWithTask, isOverdue } = await import("./tasks.ts");
    const { server } = reached.access;
    const { id } = pending.task;
    const forget = () =>
      waitForStore(aboutCall(request), request.signal, () => this.#store.forgetMcpTask(request.runId, id));
    if (isOverdue(pending.task, server, Date.now())) {
      await cancelTask(id, reached);
      await forget();
      const message = `the task of the MCP server ${server.name} has not ended in ${server.wait_timeout_seconds} s, and is cancelled`;
      throw new ToolRejection(message, { code: "mcp_task_timeout" });
    }
    try {
      const outcome = await goOnWithTask(pending, request.answers, reached);
      if (outcome.is === "result") await forget();
      return outcome;
    } catch (error) {
      // The task has ended, or is given up: a task that is still alive is cancelled with its run.
      if (error instanceof ToolRejection && error.code !== "mcp_input_required") await forget();
      throw error;
    }
  }
}

function aboutCall({ runId, tenantId, traceparent }: McpRequest): AboutRun {
  return { run_id: runId, tenant_id: tenantId, traceparent };
}

/** Whether a pending call waits for a task. */
export function hasTask(pending: McpPending): pending is PendingTask {
  return pending.task !== null;
}
