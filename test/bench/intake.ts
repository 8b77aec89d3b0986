import { Scope } from "../../shared/contracts/tenant.ts";
import { TenantId } from "../../shared/contracts/ids.ts";
import { newApiKey, saveApiKey } from "../../shared/store/tenants/api-keys.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { BenchEdge } from "./edge.ts";
import { requestBytes, sendFor } from "./load.ts";
import { CLIENTS, runRequest } from "./requests.ts";
import { quantile, roundsRow } from "./stats.ts";
import type { Row } from "./stats.ts";

const ITEMS = 500;
const BATCH_CLIENTS = 2;
const ROUND_MS = 3_000;
const ROUNDS = 3;
/** Clients of the tenant that is measured, beside the clients of the flood. */
const QUIET_CLIENTS = 4;
const FULL = TenantId.parse("full");

/** Runs that are accepted in batches, in a second. No worker runs meanwhile. */
export async function benchBatches({ port, key }: BenchEdge): Promise<Row[]> {
  const items = Array.from({ length: ITEMS }, (_, i) => ({ message: `Write about the sea, part ${i}` }));
  const request = batchRequest(key, "bench", items);
  await sendFor({ port, clients: 1, request, status: 202 }, 0);
  const rates: number[] = [];
  while (rates.length < ROUNDS) {
    const load = { port, clients: BATCH_CLIENTS, request, status: 202 };
    const { latenciesMs, seconds } = await sendFor(load, ROUND_MS);
    rates.push((latenciesMs.length * ITEMS) / seconds);
  }
  return [roundsRow(`runs in batches of ${ITEMS}, ${BATCH_CLIENTS} clients`, rates, "runs/s")];
}

/** What a tenant's POSTs take while 64 clients of another one, whose queue is full, are refused as fast as they ask. */
export async function benchFullQueue(sql: Sql, { port, key }: BenchEdge): Promise<Row[]> {
  await sql`
    insert into tenants (tenant_id, max_queued_runs, requests_per_second) values (${FULL}, ${ITEMS}, 1000000)
    on conflict do nothing`;
  const fullKey = newApiKey();
  await saveApiKey(sql, fullKey, { tenant: FULL, name: "bench", scopes: Scope.options });
  await sql`
    insert into orchestrations (tenant_id, id, name, version)
    select ${FULL}, id, name, version from orchestrations where id = 'orch_bench' on conflict do nothing`;
  await sql`
    insert into orchestration_versions (tenant_id, id, version, definition)
    select ${FULL}, id, version, definition from orchestration_versions where id = 'orch_bench' on conflict do nothing`;
  const items = Array.from({ length: ITEMS }, () => ({ message: "fill" }));
  for (let i = 0; i < 2; i++) {
    await sendFor({ port, clients: 1, request: batchRequest(fullKey, FULL, items), status: 202 }, 0);
  }
  const quiet = { port, clients: QUIET_CLIENTS, request: runRequest(key), status: 202 };
  const flood = { port, clients: CLIENTS, request: runRequest(fullKey), status: 429 };
  const alone: number[] = [];
  const beside: number[] = [];
  const refused: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    alone.push(quantile((await sendFor(quiet, ROUND_MS)).latenciesMs, 0.99));
    const [accepted, refusals] = await Promise.all([sendFor(quiet, ROUND_MS), sendFor(flood, ROUND_MS)]);
    beside.push(quantile(accepted.latenciesMs, 0.99));
    refused.push(refusals.latenciesMs.length / refusals.seconds);
  }
  return [
    roundsRow(`POST to 202, ${QUIET_CLIENTS} clients, p99`, alone, "ms"),
    roundsRow(`  beside ${CLIENTS} clients of a full queue, p99`, beside, "ms"),
    roundsRow("  refusals of that tenant", refused, "req/s"),
  ];
}

function batchRequest(key: string, tenant: string, items: readonly object[]): Buffer {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const body = JSON.stringify({ tenant_id: tenant, items });
  return requestBytes("POST", "/api/v2/orchestrations/orch_bench/runs:batch", headers, body);
}
