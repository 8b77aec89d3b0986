import { masterKeysOf } from "../../shared/security/master-keys.ts";
import type { Incarnation } from "../../shared/contracts/ids.ts";
import { givenVariables } from "../../shared/given-variables.ts";
import { windowTokens } from "../../shared/contracts/model-window.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import type { Count } from "../../shared/metrics.ts";
import type { ProviderCalls } from "../../shared/providers/provider-calls.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Config } from "../config.ts";
import { createSandbox } from "../engine/sandbox.ts";
import type { FileStore } from "../files/file-store.ts";
import { Journal } from "../journal/journal.ts";
import { countedModels } from "../models/counted-models.ts";
import { createModels } from "../models/create-models.ts";
import { ProviderGate } from "../models/provider-gate.ts";
import { TenantKeys } from "../models/tenant-keys.ts";
import { Prices } from "../models/prices.ts";
import type { createEgress } from "../outbound/egress-guard.ts";
import { McpUpkeep } from "../tools/mcp/upkeep.ts";
import type { Outbox } from "../tools/built-in/send-email.ts";
import { createTools } from "../tools/create-tools.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";
import { Definitions } from "./definitions.ts";
import type { ChildStarts, ExecutionDeps } from "./execution-state.ts";
import type { ObjectStore } from "./object-store.ts";
import { TrackLimiter } from "./track-limiter.ts";

/** Opens what a worker's executions share. `models`: a sentence about the configured models. */
export function openExecution(parts: {
  owner: Incarnation;
  config: Config;
  store: StateStore;
  artifacts: () => (ObjectStore & FileStore) | null;
  egress: ReturnType<typeof createEgress>;
  publish: (entries: LiveEntry[]) => void;
  children: ChildStarts;
  providerCalls: ProviderCalls;
  count: Count;
  tracing: CurrentTracing;
  mail: Outbox;
}): {
  deps: Omit<ExecutionDeps, "confirm" | "laneSettings">;
  mcp: McpUpkeep;
  models: string;
  preloadModels(): Promise<void>;
  close(): Promise<void>;
} {
  const { owner, config, store, artifacts, egress, publish, children, count, tracing } = parts;
  const prices: Prices = new Prices(
    () => store.readModelPrices(),
    () => models.defaultModel,
  );
  const gate = new ProviderGate(parts.providerCalls, () => store.readProviderLimits());
  const silenceMs = config.MODEL_TIMEOUT_SECONDS * 1_000;
  const masterKey = masterKeysOf(config) ?? null;
  const tenantKeys = new TenantKeys((tenant) => store.readProviderKeys(tenant), { masterKey, egress });
  const models = createModels(
    givenVariables(process.env),
    silenceMs,
    () => prices.replaced,
    gate,
    tenantKeys,
  );
  const sandbox = createSandbox();
  const tools = createTools({
    egress,
    timeoutMs: config.TOOL_TIMEOUT_SECONDS * 1_000,
    masterKey,
    stdio: config.MCP_STDIO_ALLOW,
    mail: parts.mail,
    store,
  });
  const mcp = new McpUpkeep(store, tools.mcp);
  const deps = {
    owner,
    journal: new Journal(owner, store, publish, config.SHORT_EVENT_LINES),
    definitions: new Definitions(store),
    models: countedModels(models, count),
    defaultModel: models.defaultModelFor,
    windowTokens: (model: string) => windowTokens(model, (name) => gate.contextTokensOf(name)),
    prices,
    tools,
    sandbox,
    artifacts,
    files: artifacts,
    trackLimiter: new TrackLimiter(),
    children,
    store,
    count,
    tracing,
  };
  const close = async (): Promise<void> => {
    tools.sql.close();
    await Promise.all([sandbox.close(), tools.mcp.close()]);
  };
  return { deps, mcp, models: models.describe(), preloadModels: models.preload, close };
}
