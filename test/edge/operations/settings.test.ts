import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { configOf } from "../../../edge/operations/config-view.ts";
import { LiveValues } from "../../../edge/clients/live-values.ts";
import { readConfig } from "../../../edge/env.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { saveSettings } from "../../../shared/store/settings.ts";
import { TenantId, newIncarnation } from "../../../shared/contracts/ids.ts";
import { LIVE_VALUES_MS } from "../../../shared/timing.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { bodyOf, startApp, type TestApp } from "../app.ts";
import { onlineBeat } from "../../shared/store/store-fixture.ts";
import { MASTER_KEY } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY, EGRESS_ALLOW: "127.0.0.1" });
});
afterAll(() => app.stop());
afterEach(() => app.stores.sql`delete from settings`);

const Shown = z.array(z.looseObject({ name: z.string(), value: z.string().nullable(), origin: z.string() }));
const patch = (body: object, key?: string) =>
  app.call("PATCH", "/scale/config", { body, ...(key !== undefined && { key }) });
const shown = async (name: string) => {
  const all = Shown.parse(await (await app.call("GET", "/scale/config")).json());
  return all.find((each) => each.name === name);
};

/** A bucket that fits the schema. */
const KEYS = { S3_BUCKET: "files", S3_ACCESS_KEY_ID: "id", S3_SECRET_ACCESS_KEY: "secret" };

// Fails when workers and edges of one secret do not have the same text, and none of them accepts the other's.
test("white space around a variable's text does not count", () => {
  const bindings = {
    UPSTASH_REDIS_REST_URL: "http://127.0.0.1:8079",
    UPSTASH_REDIS_REST_TOKEN: "token",
    STREAM_TOKEN_SECRET: "s".repeat(32),
    REDIS_URL: "redis://127.0.0.1:6379\n",
    MASTER_KEY: `${"ab".repeat(32)}\n`,
    METRICS_TOKEN: `${"m".repeat(16)}\r\n`,
    ENABLE_TENANT_ISOLATION: " 0",
  };
  expect(readConfig(bindings)).toMatchObject({
    REDIS_URL: "redis://127.0.0.1:6379",
    METRICS_TOKEN: "m".repeat(16),
    ENABLE_TENANT_ISOLATION: false,
  });
});

// Fails when a variable is checked less than the setting of its name: with each of these no page, and no scraper, would get anything.
test.each([
  ["CORS_ORIGINS", "https://app.example.com/path/", "must be * or an origin as browsers send it"],
  ["CORS_ORIGINS", "https://a.example,https://*.example.com", "must be * or an origin as browsers send it"],
  ["CORS_ORIGINS", "app.example.com", "must be * or an origin as browsers send it"],
  ["METRICS_TOKEN", "a token with spaces in it", "must be visible ASCII characters"],
  ["STREAM_TOKEN_SECRET", undefined, "is not set: openssl rand -hex 32"],
  ["UPSTASH_REDIS_REST_TOKEN", undefined, "is not set: it is the token of Upstash, or REDIS_REST_TOKEN"],
  ["REDIS_URL", undefined, "must be one address"],
])("the error of a wrong variable has its name and what would be right: %s=%s", (name, value, rule) => {
  const read = () => readConfig({ ...app.stores.vars, [name]: value });
  expect(read).toThrow(name);
  expect(read).toThrow(rule);
});

test("the origins of apps are origins too; white space, empty parts of the list and a slash at the end do not count", () => {
  const CORS_ORIGINS =
    "https://a.example/, capacitor://localhost,tauri://localhost,chrome-extension://abcdef,";
  expect(readConfig({ ...app.stores.vars, CORS_ORIGINS }).CORS_ORIGINS).toEqual([
    "https://a.example",
    "capacitor://localhost",
    "tauri://localhost",
    "chrome-extension://abcdef",
  ]);
});

// Fails when an edge takes a list of sentinels for one host: its viewers would get events late for ever, and nothing would say why.
test.each(["redis://a:26379,b:26379", "redis://a,b:26379", "redis+cluster://a:6379", "a:6379"])(
  "an edge refuses a Redis that is not one address: %s",
  (url) => {
    const bindings = { ...app.stores.vars, REDIS_URL: url };
    expect(() => readConfig(bindings)).toThrow("REDIS_URL: must be one address, redis://… or rediss://…");
  },
);

describe("a change of settings", () => {
  test("is shown with its origin, and null gives the variable back; fields that are not named stay", async () => {
    expect((await patch({ MAX_GLOBAL_QUEUE_DEPTH: 7, CORS_ORIGINS: ["https://a.example"] })).status).toBe(
      200,
    );
    expect(await shown("MAX_GLOBAL_QUEUE_DEPTH")).toMatchObject({ value: "7", origin: "setting" });
    const put = await app.call("PUT", "/api/scale/config", { body: { MAX_GLOBAL_QUEUE_DEPTH: null } });
    expect(put.status).toBe(200);
    expect(await shown("MAX_GLOBAL_QUEUE_DEPTH")).toMatchObject({ value: "1000000", origin: "default" });
    expect(await shown("CORS_ORIGINS")).toMatchObject({ value: "https://a.example", origin: "setting" });
  });

  // Fails when a worker gets a setting of edges, or does not get a setting of workers.
  test("reaches workers with the reply to a beat if it is a setting of workers, and `live` lists the processes that use it", async () => {
    await patch({ MAX_GLOBAL_QUEUE_DEPTH: 7, CORS_ORIGINS: ["https://a.example"] });
    const { settings } = await beat(app.stores.sql, onlineBeat(newIncarnation("w")));
    expect(settings).toEqual([{ name: "MAX_GLOBAL_QUEUE_DEPTH", value: "7" }]);
    expect((await shown("MAX_GLOBAL_QUEUE_DEPTH"))?.["live"]).toEqual(["edges", "workers"]);
    expect((await shown("CORS_ORIGINS"))?.["live"]).toEqual(["edges"]);
    expect((await shown("QUEUE_SHARDS"))?.["live"]).toEqual([]);
  });

  test("shows the settings of lanes beside them, with what changes each", async () => {
    await app.call("PATCH", "/scale/queue/bulk", { body: { keep_failed_count: 10 } });
    expect(await shown("lanes.bulk.keep_failed_count")).toEqual({
      name: "lanes.bulk.keep_failed_count",
      value: "10",
      origin: "setting",
      secret: false,
      live: ["workers"],
      change: 'PATCH /scale/queue/bulk {"keep_failed_count": …}',
    });
    expect(await shown("lanes.mail.weight")).toBeUndefined();
    expect(await shown("lanes.interactive.weight")).toMatchObject({ value: "8", origin: "default" });
  });

  test("acts on this edge at once", async () => {
    await patch({ CORS_ORIGINS: ["https://a.example"] });
    await app.call("GET", "/scale/config");
    const origin = async (browserOrigin: string) =>
      (await app.call("GET", "/scale/config", { headers: { origin: browserOrigin } })).headers.get(
        "access-control-allow-origin",
      );
    expect([await origin("https://a.example"), await origin("https://b.example")]).toEqual([
      "https://a.example",
      null,
    ]);
  });

  test("seals a secret, never shows it, and uses it", async () => {
    const token = "canary-metrics-token";
    const saved = await patch({ METRICS_TOKEN: token });
    expect(await saved.text()).not.toContain(token);
    expect(await shown("METRICS_TOKEN")).toMatchObject({ value: "********", origin: "setting" });
    const [row] = await app.stores.sql`select value from settings where name = 'METRICS_TOKEN'`;
    expect(String(row?.value)).toMatch(/^v1\./);
    await app.call("GET", "/scale/config");
    expect((await app.call("GET", "/api/v2/metrics", { key: token })).status).toBe(200);
  });

  test.each([
    [{ MAX_GLOBAL_QUEUE_DEPT: 1 }, "MAX_GLOBAL_QUEUE_DEPT", /MAX_GLOBAL_QUEUE_DEPTH/],
    [{ REDIS_URL: "redis://x" }, "REDIS_URL", /./],
    [{ SCALE_MODE: "off" }, "SCALE_MODE", /boolean|true or false/],
    [{ MAX_GLOBAL_QUEUE_DEPTH: 0 }, "MAX_GLOBAL_QUEUE_DEPTH", /1/],
    [{ CORS_ORIGINS: ["https://a.example/path"] }, "CORS_ORIGINS[0]", /origin/],
    [{ CORS_ORIGINS: ["https://a,b"] }, "CORS_ORIGINS[0]", /origin/],
    [{ METRICS_TOKEN: "short" }, "METRICS_TOKEN", /16/],
    [{ METRICS_TOKEN: "a token with spaces" }, "METRICS_TOKEN", /visible ASCII/],
    [{ METRICS_TOKEN: "token-token-token-\u0000" }, "METRICS_TOKEN", /visible ASCII/],
    [{ OTLP_ENDPOINT: "collector:4317" }, "OTLP_ENDPOINT", /http or https URL.*off/],
    [{ OTLP_ENDPOINT: "http://user:canary@collector:4317" }, "OTLP_ENDPOINT", /without user and password/],
    [{ OTLP_ENDPOINT: "http://169.254.169.254" }, "OTLP_ENDPOINT", /private address.*EGRESS_ALLOW/],
    [{ OTLP_ENDPOINT: "http://collector:25" }, "OTLP_ENDPOINT", /port 25/],
    [{ OTLP_HTTP_ENDPOINT: "off" }, "OTLP_HTTP_ENDPOINT", /http or https URL/],
    [{ S3_ENDPOINT: "http://10.1.2.3:9000", ...KEYS }, "S3_ENDPOINT", /EGRESS_ALLOW/],
    [{ S3_ENDPOINT: "https://a:b@s3.amazonaws.com", ...KEYS }, "S3_ENDPOINT", /without user/],
    [{ S3_ENDPOINT: "minio", ...KEYS }, "S3_ENDPOINT", /http or https URL/],
    [{ ...KEYS, S3_BUCKET: "../other" }, "S3_BUCKET", /name of 2 to 255/],
    [{ ...KEYS, S3_REGION: "Frankfurt am Main" }, "S3_REGION", /name of a region/],
    [{ ...KEYS, S3_SECRET_ACCESS_KEY: "********" }, "S3_SECRET_ACCESS_KEY", /mask/],
    [{ ...KEYS, S3_ACCESS_KEY_ID: "with space" }, "S3_ACCESS_KEY_ID", /visible ASCII/],
    [{}, "", /at least one/],
  ])(
    "that is wrong is refused with the path and the reason of each error, and saves nothing: %j",
    async (body, path, message) => {
      const answer = await patch({ ...body });
      expect(answer.status).toBe(422);
      expect((await bodyOf(answer)).errors).toEqual([{ path, message: expect.stringMatching(message) }]);
      expect(await app.stores.sql`select from settings`).toHaveLength(0);
    },
  );

  const S3 = {
    S3_ENDPOINT: "http://127.0.0.1:9000",
    S3_BUCKET: "files",
    S3_ACCESS_KEY_ID: "canary-of-the-id",
    S3_SECRET_ACCESS_KEY: "canary-of-the-secret",
  };

  // Fails when a key is stored or shown in clear, or does not come to workers.
  test("of the object store seals both keys and never shows them; workers get all of it", async () => {
    const saved = await patch(S3);
    expect([saved.status, await saved.text()]).toEqual([200, expect.not.stringContaining("canary")]);
    expect(await shown("S3_BUCKET")).toEqual({
      name: "S3_BUCKET",
      value: "files",
      origin: "setting",
      secret: false,
      live: ["edges", "workers"],
      change: 'PATCH /scale/config {"S3_BUCKET": …}',
    });
    for (const name of ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"])
      expect(await shown(name)).toMatchObject({ value: "********", origin: "setting", secret: true });
    expect(await shown("S3_REGION")).toMatchObject({ value: null, origin: "unset" });
    const { settings } = await beat(app.stores.sql, onlineBeat(newIncarnation("w")));
    expect(settings?.map(({ name }) => name).toSorted()).toEqual(Object.keys(S3).toSorted());
    expect(JSON.stringify(settings)).not.toContain("canary");
    await app.settled();
    expect(await (await app.call("GET", "/scale/audit")).text()).not.toContain("canary");
  });

  test("of the object store holds together: none of its three names may be missing", async () => {
    const { S3_SECRET_ACCESS_KEY: secret, ...rest } = S3;
    const missing = async (body: object) => {
      const answer = await patch(body);
      return [
        answer.status,
        z.array(z.looseObject({ path: z.string() })).parse((await bodyOf(answer)).errors ?? []),
      ];
    };
    const isMissing = (path: string) => ({
      path,
      message: expect.stringMatching(/is missing: .* set together/),
    });
    expect(await missing(rest)).toEqual([422, [isMissing("S3_SECRET_ACCESS_KEY")]]);
    expect(await missing({ S3_REGION: "auto" })).toMatchObject([422, { length: 3 }]);
    expect((await patch({ ...rest, S3_SECRET_ACCESS_KEY: secret })).status).toBe(200);
    expect((await patch({ S3_BUCKET: "other" })).status).toBe(200);
    expect(await missing({ S3_BUCKET: null })).toEqual([422, [isMissing("S3_BUCKET")]]);
    expect(await shown("S3_BUCKET")).toMatchObject({ value: "other" });
  });

  // Fails when each of two changes is checked beside the settings before both, and both are saved: a bucket without keys would remain.
  test("of the object store holds together also when two changes come at the same moment", async () => {
    const { sql } = app.stores;
    await patch(S3);
    const none = Object.fromEntries(Object.keys(S3).map((name) => [name, null]));
    let both: Promise<[Response, Response]> | undefined;
    await sql.begin(async (tx) => {
      // Reads go on, and writes wait: both changes have read the settings before one of them is saved.
      await tx`lock table settings in exclusive mode`;
      both = Promise.all([patch(none), patch({ S3_BUCKET: "other" })]);
      await untilLockWait(sql, 2);
    });
    const [removal] = (await both) ?? [];
    expect(removal?.status).toBe(200);
    expect(await sql`select name from settings`).toEqual([]);
  });

  test("of the collector replaces both addresses of the variables, and `off` is shown", () => {
    const address = "http://127.0.0.1:4317";
    const variables = { ...app.stores.vars, OTLP_ENDPOINT: address, OTLP_HTTP_ENDPOINT: address };
    const origins = (...settings: { name: string; value: string }[]) =>
      configOf(variables, settings)
        .filter(({ name }) => name.startsWith("OTLP_"))
        .map(({ value, origin }) => [value, origin]);
    const variable = [address, "environment"];
    expect(origins()).toEqual([variable, variable]);
    expect(origins({ name: "OTLP_ENDPOINT", value: "off" })).toEqual([
      ["off", "setting"],
      [null, "unset"],
    ]);
  });

  test("needs a platform key, and is recorded with the names of the settings and without values", async () => {
    const tenant = await app.stores.key("acme");
    expect((await patch({ MAX_GLOBAL_QUEUE_DEPTH: 3 }, tenant)).status).toBe(403);
    await patch({ MAX_GLOBAL_QUEUE_DEPTH: 3, METRICS_TOKEN: "canary-metrics-token" });
    await app.settled();
    const audit = await (await app.call("GET", "/scale/audit")).text();
    expect(audit).toContain('"target":"MAX_GLOBAL_QUEUE_DEPTH METRICS_TOKEN"');
    expect(audit).not.toContain("canary");
  });

  test("of a secret needs MASTER_KEY", async () => {
    const without = await startApp();
    try {
      const answer = await without.call("PATCH", "/scale/config", {
        body: { METRICS_TOKEN: "canary-metrics-token" },
      });
      expect([answer.status, await answer.text()]).toEqual([422, expect.stringContaining("MASTER_KEY")]);
    } finally {
      await without.stop();
    }
  });
});

describe("the settings and limits that an edge keeps in memory", () => {
  const acme = TenantId.parse("acme");
  let live: LiveValues;
  let reads: number;
  let later: Promise<unknown>[];
  const refresh = () =>
    live.refresh(
      (run) => {
        reads++;
        return run(app.stores.sql);
      },
      acme,
      (work) => void later.push(work),
    );
  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    live = new LiveValues(readConfig({ ...app.stores.vars, MASTER_KEY }));
    [reads, later] = [0, []];
    await app.stores.sql`insert into tenants (tenant_id) values ('acme') on conflict do nothing`;
    await refresh();
  });
  afterEach(() => void vi.useRealTimers());

  test("are never older than 4 s when a request uses them, also after a silence", async () => {
    await saveSettings(app.stores.sql, [{ name: "MAX_GLOBAL_QUEUE_DEPTH", value: "5" }], "k");
    await app.stores.sql`update tenants set requests_per_second = 3 where tenant_id = 'acme'`;
    vi.setSystemTime(Date.now() + LIVE_VALUES_MS);
    await refresh();
    expect(live.config.MAX_GLOBAL_QUEUE_DEPTH).toBe(5);
    expect(live.limitsOf(acme)).toMatchObject({ requests_per_second: 3 });
    expect(later).toHaveLength(0);
  });

  test("hold up no request while Postgres is unreachable, and are read again when it is back", async () => {
    await saveSettings(app.stores.sql, [{ name: "MAX_GLOBAL_QUEUE_DEPTH", value: "7" }], "k");
    const unreachable = () => Promise.reject(new Error("unreachable"));
    const refreshWhile = (query: Parameters<LiveValues["refresh"]>[0]) => {
      vi.setSystemTime(Date.now() + LIVE_VALUES_MS);
      return live.refresh(query, acme, (work) => void later.push(work));
    };
    await refreshWhile(unreachable);
    expect(later).toHaveLength(0);
    const never = Promise.withResolvers<never>();
    await refreshWhile(() => never.promise);
    expect(later).toHaveLength(1);
    vi.setSystemTime(Date.now() + LIVE_VALUES_MS);
    await refresh();
    await later[1];
    expect(live.config.MAX_GLOBAL_QUEUE_DEPTH).toBe(7);
    never.reject(new Error("unreachable"));
    await later[0];
  });

  test("are read after a response while requests come, once in 2 s", async () => {
    await saveSettings(app.stores.sql, [{ name: "MAX_GLOBAL_QUEUE_DEPTH", value: "6" }], "k");
    vi.setSystemTime(Date.now() + LIVE_VALUES_MS / 2);
    for (let i = 0; i < 100; i++) await refresh();
    expect([reads, later.length]).toEqual([2, 1]);
    await Promise.all(later);
    expect(live.config.MAX_GLOBAL_QUEUE_DEPTH).toBe(6);
  });

  test("stay as they are while Postgres is away, and requests do not each wait for it", async () => {
    let tries = 0;
    const away = () =>
      live.refresh(
        () => Promise.reject(new Error(`away ${++tries}`)),
        acme,
        () => {},
      );
    vi.setSystemTime(Date.now() + LIVE_VALUES_MS);
    for (let i = 0; i < 100; i++) await away();
    expect(tries).toBe(1);
    expect(live.limitsOf(acme)).not.toBeNull();
  });

  test("leave out a setting that this version cannot use", async () => {
    await saveSettings(app.stores.sql, [{ name: "MAX_GLOBAL_QUEUE_DEPTH", value: "many" }], "k");
    await saveSettings(app.stores.sql, [{ name: "METRICS_TOKEN", value: "v1.AAAA" }], "k");
    await saveSettings(app.stores.sql, [{ name: "OF_A_LATER_VERSION", value: "1" }], "k");
    vi.setSystemTime(Date.now() + LIVE_VALUES_MS);
    await refresh();
    expect(live.config).toMatchObject({ MAX_GLOBAL_QUEUE_DEPTH: 1_000_000, SCALE_MODE: true });
    expect(live.config.METRICS_TOKEN).toBeUndefined();
  });

  // Fails when such an entry makes the list unusable: the variable would hold, which allows every origin by default.
  test("take a list of origins that an earlier version stored with a pattern, which matches no page", async () => {
    const value = "https://a.example,https://*.b.example";
    await saveSettings(app.stores.sql, [{ name: "CORS_ORIGINS", value }], "k");
    vi.setSystemTime(Date.now() + LIVE_VALUES_MS);
    await refresh();
    expect(live.config.CORS_ORIGINS).toEqual(value.split(","));
  });
});
