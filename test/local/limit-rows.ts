/** The limits of a tenant, each with a flood by 50 clients against it. What was taken is read from Postgres, not from the answers. */
import postgres from "postgres";
import { z } from "zod";
import { Viewer } from "../services/viewer.ts";
import { until } from "../services/waiting.ts";
import type { OwnSystem } from "./own-system.ts";

const CLIENTS = 50;

/** The names of the rows: a test needs them before the system has started. */
export const LIMITS = [
  "max_queued_runs",
  "max_concurrent_runs",
  "one turn of a chat session",
  "one run of a singleton key",
  "max_open_streams",
  "a budget",
];

export type LimitRow = {
  name: string;
  /** The limit, which no flood passes, and what a flood uses at least when nothing is held. */
  most: number;
  least: number;
  prepare(tenant: string): Promise<void>;
  /** 50 clients at once. @returns the most that was in use at one time */
  flood(tenant: string): Promise<number>;
  /** Ends what the flood has begun: then everything must have been given back. */
  settle(tenant: string): Promise<void>;
};

const Key = z.object({ key: z.string() });
const Accepted = z.object({ run_id: z.string() });
const Session = z.object({ session_id: z.string() });

/** @param patient clients repeat what a killed process or an emptied Redis has refused */
export function limitRows(system: OwnSystem, sql: postgres.Sql, patient: boolean): LimitRow[] {
  const keys = new Map<string, string>();
  const sessions = new Map<string, string>();
  const streams: Viewer[] = [];

  async function request(method: string, path: string, body?: unknown, key?: string): Promise<Response> {
    const { api_base, api_key } = system.facts;
    return fetch(`${api_base}${path}`, {
      method,
      headers: { authorization: `Bearer ${key ?? api_key}`, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(60_000),
    });
  }
  /** A request that has an answer other than 503, and the answer of an edge that lives. */
  async function ask(method: string, path: string, body?: unknown, key?: string): Promise<Response> {
    const answers: Response[] = [];
    await until(`${path} is answered`, async () => {
      const response = await request(method, path, body, key).catch((error: unknown) => {
        if (!patient) throw error;
        return null;
      });
      if (response === null || (patient && response.status === 503)) return false;
      return answers.push(response) > 0;
    });
    const [answer] = answers;
    if (answer === undefined) throw new Error("no answer");
    return answer;
  }
  async function must(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await ask(method, path, body);
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.status === 204 ? null : response.json();
  }
  const limit = (tenant_id: string, limits: object) =>
    must("POST", "/scale/tenants", { tenant_id, ...limits });
  async function keyOf(tenant_id: string): Promise<string> {
    const known = keys.get(tenant_id);
    if (known) return known;
    const scopes = ["runs:read", "runs:write"];
    const { key } = Key.parse(await must("POST", "/scale/api-keys", { tenant_id, name: "flood", scopes }));
    keys.set(tenant_id, key);
    return key;
  }
  async function fifty<Answer>(client: (n: number) => Promise<Answer>): Promise<Answer[]> {
    return Promise.all(Array.from({ length: CLIENTS }, (_, n) => client(n)));
  }
  const post = async (tenant: string, orchestration: string, body: object = {}) =>
    ask(
      "POST",
      `/api/v2/orchestrations/${orchestration}/run`,
      { message: "hi", ...body },
      await keyOf(tenant),
    );
  const count = async (rows: postgres.PendingQuery<{ n: number }[]>) => (await rows)[0]?.n ?? 0;
  const open = (tenant: string) =>
    count(sql`select count(*)::int as n from runs where tenant_id = ${tenant} and ended_at is null`);
  const allEnded = (tenant: string) =>
    until(`all runs of ${tenant} have ended`, async () => (await open(tenant)) === 0);
  async function cancelAll(tenant: string): Promise<void> {
    await must("POST", "/api/v2/orchestrations/runs:cancel", { all: true, tenant_id: tenant });
    await allEnded(tenant);
  }
  /**
   * The most runs of a tenant whose times from their start to their end overlap, of those since the last flood. `queued_at` is the time
   * at which a transaction began, and that one may have waited for the end of another run.
   */
  const overlap = (tenant: string, sinceMs: number) =>
    count(sql`
      select coalesce(max(n), 0)::int as n from (
        select sum(step) over (order by at, step) as n from (
          select started_at as at, 1 as step from runs where tenant_id = ${tenant} and started_at is not null
            and queued_at >= to_timestamp(${sinceMs}::float8 / 1000)
          union all
          select coalesce(ended_at, 'infinity'), -1 from runs where tenant_id = ${tenant} and started_at is not null
            and queued_at >= to_timestamp(${sinceMs}::float8 / 1000)) edges) sums`);
  const now = () => count(sql`select floor(extract(epoch from clock_timestamp()) * 1000)::float8 as n`);
  /** How many runs that 50 clients start are executed at once, at most. */
  async function mostAtOnce(tenant: string, start: () => Promise<unknown>): Promise<number> {
    const sinceMs = await now();
    await fifty(start);
    await allEnded(tenant);
    return overlap(tenant, sinceMs);
  }

  return [
    {
      name: "max_queued_runs",
      most: 20,
      least: 20,
      prepare: async (tenant) => void (await limit(tenant, { max_queued_runs: 20 })),
      async flood(tenant) {
        await fifty(() => post(tenant, "orch_paid", { delay_seconds: 3_600 }));
        return open(tenant);
      },
      settle: cancelAll,
    },
    {
      name: "max_concurrent_runs",
      most: 16,
      least: 16,
      prepare: async (tenant) => void (await limit(tenant, { max_concurrent_runs: 16 })),
      flood: (tenant) => mostAtOnce(tenant, () => post(tenant, "orch_model")),
      settle: allEnded,
    },
    {
      name: "one turn of a chat session",
      most: 1,
      least: 1,
      async prepare(tenant) {
        await limit(tenant, {});
        const body = { message: "hi", agent: "agent_model" };
        const first = await ask("POST", "/api/v2/chat", body, await keyOf(tenant));
        sessions.set(tenant, Session.parse(await first.json()).session_id);
        await allEnded(tenant);
      },
      async flood(tenant) {
        const key = await keyOf(tenant);
        const body = { message: "hi", session_id: sessions.get(tenant), on_busy: "reject" };
        return mostAtOnce(tenant, () => ask("POST", "/api/v2/chat", body, key));
      },
      settle: allEnded,
    },
    {
      name: "one run of a singleton key",
      most: 1,
      least: 1,
      prepare: async (tenant) => void (await limit(tenant, {})),
      flood: (tenant) => mostAtOnce(tenant, () => post(tenant, "orch_model", { singleton_key: "one" })),
      settle: allEnded,
    },
    {
      name: "max_open_streams",
      most: 7,
      least: 7,
      prepare: async (tenant) => void (await limit(tenant, { max_open_streams: 7 })),
      async flood(tenant) {
        const { run_id } = Accepted.parse(await (await post(tenant, "orch_asks")).json());
        const headers = { authorization: `Bearer ${await keyOf(tenant)}` };
        const url = `${system.facts.api_base}/api/v2/orchestrations/runs/${run_id}/stream`;
        const viewers = await fifty(() => Viewer.open(url, headers).catch(() => null));
        const seated = viewers.filter((viewer) => viewer !== null).filter(({ status }) => status === 200);
        streams.push(...seated);
        return seated.length;
      },
      async settle(tenant) {
        for (const stream of streams.splice(0)) stream.leave();
        await cancelAll(tenant);
      },
    },
    {
      name: "a budget",
      // In thousandths of a USD. Three calls of the worst case fit, and a last one is shorter than that.
      most: 1_000,
      least: 600,
      async prepare(tenant) {
        await limit(tenant, {});
        const price = { input_usd_per_million: 1, output_usd_per_million: 1_000, max_output_tokens: 300 };
        await must("PUT", "/scale/model-prices", { model: "demo/fast", ...price });
      },
      async flood(tenant) {
        const budget = {
          tenant_id: tenant,
          scope: "tenant",
          period: "total",
          limit_usd: 1,
          at_limit: "fail",
        };
        await must("PUT", `/scale/budgets/budget-${tenant}`, budget);
        await fifty(() => post(tenant, "orch_paid"));
        await allEnded(tenant);
        const Budgets = z.array(z.object({ spent_usd: z.number(), reserved_usd: z.number() }));
        const [state] = Budgets.parse(await must("GET", `/scale/budgets?tenant_id=${tenant}`));
        if (state?.reserved_usd !== 0) throw new Error(`${state?.reserved_usd} USD are reserved at rest`);
        return Math.round(state.spent_usd * 1_000);
      },
      settle: async (tenant) =>
        void (await must("DELETE", `/scale/budgets/budget-${tenant}?tenant_id=${tenant}`)),
    },
  ];
}

/** Saves what the floods run. */
export async function saveFloodDefinitions(system: OwnSystem): Promise<void> {
  const model = (name: string) => ({
    id: "a",
    type: "llm",
    model: name,
    prompt_template: "{input}",
    output_key: "x",
  });
  const documents = {
    "orchestrations/orch_model": { name: "M", entry_step_id: "a", steps: [model("demo/writer")] },
    "orchestrations/orch_paid": { name: "P", entry_step_id: "a", steps: [model("demo/fast")] },
    "orchestrations/orch_asks": {
      name: "A",
      entry_step_id: "a",
      steps: [{ id: "a", type: "human", human_prompt: "Go on?" }],
    },
    "agents/agent_model": { name: "Agent", model: "demo/fast", system_prompt: "Answer." },
  };
  const { api_base, api_key } = system.facts;
  const headers = { authorization: `Bearer ${api_key}`, "content-type": "application/json" };
  for (const [path, document] of Object.entries(documents)) {
    const body = JSON.stringify(document);
    const answer = await fetch(`${api_base}/api/v2/${path}`, { method: "PUT", headers, body });
    if (!answer.ok) throw new Error(`PUT ${path} answered ${answer.status}: ${await answer.text()}`);
  }
}
