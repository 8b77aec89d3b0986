import { baseOf } from "../../shared/contracts/ids.ts";
import { turnDefinitionId } from "../../shared/contracts/chat.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import type { StepContext } from "../engine/ports.ts";
import { loadAttached } from "../files/attached-file.ts";
import type { ExecutionState, RunScope } from "./execution-state.ts";
import { waitForStore } from "./wait-for-store.ts";

/** What the step of a chat turn reaches of its session; null: the run is no chat turn. */
export function chatOf(
  { run, deps }: ExecutionState,
  { images, attachments }: RunScope,
  signal: AbortSignal,
): StepContext["chat"] {
  const { chat_session: session, run_id } = run;
  if (session === null || session === undefined) return null;
  const base = baseOf(run_id);
  return {
    images,
    attached: () => Promise.all(attachments.map((file) => loadAttached(deps.files(), file))),
    history: () => waitForStore(run, signal, () => deps.store.readChatHistory(session, base)),
    saveSummary: async (summary) => {
      await waitForStore(run, signal, () => deps.store.saveChatSummary(session, base, summary));
    },
  };
}

/** The agent of a step. A chat turn gets its own agent in the version to which it is pinned; any other agent is the newest version. */
export function agentOf(
  { run, deps, beganMs }: ExecutionState,
  id: string,
): JsonObject | null | Promise<JsonObject | null> {
  const { definition_tenant, orchestration_id, definition_version, tenant_id } = run;
  const { definitions } = deps;
  return run.chat_session && orchestration_id === turnDefinitionId(id)
    ? definitions.agentOfTurn(definition_tenant, orchestration_id, definition_version)
    : definitions.named("agents", tenant_id, id, beganMs);
}
