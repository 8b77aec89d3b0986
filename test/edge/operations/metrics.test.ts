import { afterAll, beforeAll, expect, test } from "vitest";
import { countRuns } from "../../../shared/store/metrics/count-runs.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { prometheusText } from "../../../edge/operations/prometheus-text.ts";
import { startApp, type TestApp } from "../app.ts";

const METRICS_TOKEN = "a-token-for-the-scraper";
let app: TestApp;
beforeAll(async () => {
  app = await startApp({ METRICS_TOKEN });
});
afterAll(() => app.stop());

const metrics = (key: string | null) => app.call("GET", "/api/v2/metrics", { key });

test("the metrics need METRICS_TOKEN or a platform key with the scope admin", async () => {
  const tenantKey = await app.stores.key(TenantId.parse("acme"));
  expect((await metrics(METRICS_TOKEN)).status).toBe(200);
  expect((await metrics(app.platformKey)).status).toBe(200);
  expect((await metrics(tenantKey)).status).toBe(403);
  expect((await metrics(`${METRICS_TOKEN}x`)).status).toBe(401);
  expect((await metrics(null)).status).toBe(401);
});

// Fails when METRICS_TOKEN is taken for a wrong API key because the request has another fault: the scraper would look for the wrong one.
test("a scrape with an unknown parameter gets an error that names it, with METRICS_TOKEN and with an API key", async () => {
  for (const key of [METRICS_TOKEN, app.platformKey]) {
    const answer = await app.call("GET", "/api/v2/metrics?format=text", { key });
    expect([answer.status, await answer.text()]).toEqual([422, expect.stringContaining('"path":"format"')]);
  }
});

test("an accepted run is in the depth of the queue at once, and in the counters when it is counted", async () => {
  await app.stores.sql`update metric_positions set counted_to = now()`;
  await app.call("POST", "/api/v2/orchestrations/orch_smoke/run", { body: { tenant_id: "acme" } });
  await app.settled();
  await countRuns(app.stores.sql, 0);
  const answer = await metrics(METRICS_TOKEN);
  expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const lines = (await answer.text()).split("\n");
  expect(lines).toContain('synapse_queue_depth{queue_name="synapse:orchestrations:default"} 1');
  expect(lines).toContain("queue_waiting_jobs 1");
  expect(lines).toContain("synapse_active_workers 0");
  expect(lines).toContain("# TYPE synapse_step_duration_seconds histogram");
  expect(lines).toContain('synapse_runs_enqueued_total{orch_id="orch_smoke",tenant_id="acme"} 1');
});

// Fails when the bytes of changes that are not added up yet are left out, or a sent mail counts as overdue.
test("files, mails and the archive of the fleet are shown as Postgres knows them", async () => {
  const { sql } = app.stores;
  await app.call("POST", "/scale/tenants", { body: { tenant_id: "filled", max_total_artifact_bytes: 100 } });
  await sql`insert into file_bytes (tenant_id, bytes) values ('filled', 30), ('acme', 7)`;
  await sql`insert into file_bytes_changes (tenant_id, bytes) values ('filled', 12), ('filled', -2)`;
  await sql`
    insert into mails (message_id, tenant_id, run_id, priority, content, next_at, done_at, outcome)
    values ('a', 'acme', 'r', 0, '{}', now() - interval '2 minutes', null, null), ('b', 'acme', 'r', 0, '{}', now(), null, null),
      ('c', 'acme', 'r', 0, '{}', null, now() - interval '1 hour', 'sent')`;
  await sql`
    insert into journals_to_archive (tenant_id, ended_at, run_id)
    values ('filled', now() - interval '27 hours', 'r1'), ('filled', now() - interval '26 hours', 'r2'), ('acme', now() - interval '28 hours', 'r3')`;
  await sql`update tenants set retention = '{"journal_days": 3}' where tenant_id = 'acme'`;
  const lines = (await (await metrics(METRICS_TOKEN)).text()).split("\n");
  expect(lines).toContain('synapse_artifact_bytes{tenant_id="filled"} 40');
  expect(lines).toContain('synapse_artifact_bytes{tenant_id="acme"} 7');
  expect(lines.filter((line) => line.startsWith("synapse_artifact_bytes_limit{"))).toEqual([
    'synapse_artifact_bytes_limit{tenant_id="filled"} 100',
  ]);
  expect(lines).toContain("synapse_mails_overdue 1");
  const lag = lines.find((line) => line.startsWith("synapse_archive_lag_seconds "))?.split(" ")[1];
  expect(Math.floor(Number(lag) / 3_600)).toBe(2);
});

test("a quote, a backslash and a line break in a label are escaped", () => {
  const labels = { kind: 'a"b\\c\nd' };
  const text = prometheusText([], [{ series: "synapse_repairs_total", labels, value: 2 }]);
  expect(text).toContain(String.raw`synapse_repairs_total{kind="a\"b\\c\nd"} 2`);
});

// Fails when buckets come in the order in which they were counted: the format requires that of their bounds.
test("the buckets of a histogram are in the order of their bounds, one histogram after the other", () => {
  const bounds = ["+Inf", "1", "120", "15", "0.5"];
  const counted = bounds.flatMap((le) =>
    ["acme", "globex"].map((tenant_id) => ({
      series: "synapse_run_duration_seconds_bucket",
      labels: { le, tenant_id },
      value: 1,
    })),
  );
  const shown = Array.from(prometheusText([], counted).matchAll(/_bucket\{le="(.+)",tenant_id="(.+)"\}/g));
  expect(shown.map(([, le, tenant]) => `${tenant} ${le}`)).toEqual(
    ["acme", "globex"].flatMap((tenant) => ["0.5", "1", "15", "120", "+Inf"].map((le) => `${tenant} ${le}`)),
  );
});
