import { expect, test, vi } from "vitest";
import { settingPlace } from "../../../shared/contracts/setting.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { seal } from "../../../shared/security/seal.ts";
import { LiveSettings } from "../../../worker-node/fleet/live-settings.ts";

const MASTER_KEY = masterKey().parse("0123456789abcdef".repeat(4));
const live = (keyed: { MASTER_KEY?: typeof MASTER_KEY } = { MASTER_KEY }) =>
  new LiveSettings({ MAX_GLOBAL_QUEUE_DEPTH: 1_000, METRICS_TOKEN: "token-of-the-variable", ...keyed });
const depth = (value: string) => ({ name: "MAX_GLOBAL_QUEUE_DEPTH", value });

test("a setting holds in place of the variable, and the variable again without it", async () => {
  const settings = live();
  expect([settings.maxQueueDepth(), settings.maxShardDepth(3), settings.metricsToken()]).toEqual([
    1_000,
    334,
    "token-of-the-variable",
  ]);
  await settings.replace([
    depth("50"),
    {
      name: "METRICS_TOKEN",
      value: await seal(MASTER_KEY, "token-of-the-setting", settingPlace("METRICS_TOKEN")),
    },
  ]);
  expect([settings.maxShardDepth(4), settings.metricsToken()]).toEqual([13, "token-of-the-setting"]);
  await settings.replace([]);
  expect([settings.maxQueueDepth(), settings.metricsToken()]).toEqual([1_000, "token-of-the-variable"]);
});

// Fails when a setting of another version, or a secret of another key, stops the ones beside it.
test("a setting that this worker cannot use keeps its old value, and the other settings take effect", async () => {
  const settings = live({});
  await settings.replace([
    depth("50"),
    {
      name: "METRICS_TOKEN",
      value: await seal(MASTER_KEY, "token-of-the-setting", settingPlace("METRICS_TOKEN")),
    },
    { name: "OF_A_LATER_VERSION", value: "1" },
  ]);
  expect([settings.maxQueueDepth(), settings.metricsToken()]).toEqual([50, "token-of-the-variable"]);
  await settings.replace([depth("0")]);
  expect(settings.maxQueueDepth()).toBe(50);
});

const S3 = { S3_ENDPOINT: "http://minio:9000", S3_BUCKET: "files" };
const SECRETS = { S3_ACCESS_KEY_ID: "id", S3_SECRET_ACCESS_KEY: "canary-of-the-secret" };
const s3 = async (key = MASTER_KEY, changes: Record<string, string> = {}) => [
  ...Object.entries({ ...S3, ...changes }).map(([name, value]) => ({ name, value })),
  ...(await Promise.all(
    Object.entries(SECRETS).map(async ([name, value]) => ({
      name,
      value: await seal(key, value, settingPlace(name)),
    })),
  )),
];
const bucket = { endpoint: "http://minio:9000", bucket: "files", region: "us-east-1" };
const keys = { accessKeyId: "id", secretAccessKey: "canary-of-the-secret" };

// Fails when the bucket of one change is used with the keys of another, or when the log has a secret.
test("a worker that cannot open a setting of the object store keeps all old ones, and its log lines have no secret", async () => {
  const lines: string[] = [];
  const warn = vi.spyOn(console, "error").mockImplementation((line) => void lines.push(String(line)));
  const settings = live();
  await settings.replace(await s3());
  expect(settings.s3Bucket).toEqual({ ...bucket, ...keys });
  const other = masterKey().parse("fedcba9876543210".repeat(4));
  await settings.replace(await s3(other, { S3_BUCKET: "another" }));
  expect(settings.s3Bucket).toEqual({ ...bucket, ...keys });
  await settings.replace((await s3()).filter(({ name }) => name !== "S3_SECRET_ACCESS_KEY"));
  expect(settings.s3Bucket).toEqual({ ...bucket, ...keys });
  await settings.replace([]);
  expect(settings.s3Bucket).toBeNull();
  warn.mockRestore();
  const named = lines.map((line) => JSON.parse(line)).map(({ event, name }) => [event, name]);
  expect(named).toEqual([
    ["settings.not_usable", "S3_ACCESS_KEY_ID"],
    ["settings.not_usable", "S3_SECRET_ACCESS_KEY"],
    ["settings.not_usable", "S3_SECRET_ACCESS_KEY"],
  ]);
  expect(lines.join("\n")).not.toContain("canary");
});

test("the collector of the settings has precedence over that of the variables, and `off` over both", async () => {
  const settings = new LiveSettings({ MAX_GLOBAL_QUEUE_DEPTH: 1, OTLP_ENDPOINT: "http://a:4317" });
  const set = (value: string) => settings.replace([{ name: "OTLP_ENDPOINT", value }]);
  const seen = [settings.otlpEndpoint];
  for (const value of ["http://b:4317", "off"]) {
    await set(value);
    seen.push(settings.otlpEndpoint);
  }
  await settings.replace([]);
  expect([...seen, settings.otlpEndpoint]).toEqual(["http://a:4317", "http://b:4317", null, "http://a:4317"]);
});

// Fails when a worker claims its first run before it knows its bucket.
test("a reply takes effect after the change of the parts that depend on it", async () => {
  const change = Promise.withResolvers<void>();
  const settings = new LiveSettings({ MAX_GLOBAL_QUEUE_DEPTH: 1, MASTER_KEY }, () => change.promise);
  let holds = false;
  const first = settings.replace([depth("50")]).then(() => (holds = true));
  const second = settings.replace([depth("50")]);
  expect(holds).toBe(false);
  change.resolve();
  await Promise.all([first, second]);
  expect([holds, settings.maxQueueDepth()]).toEqual([true, 50]);
});

// Fails when the slower opening of older settings replaces newer ones.
test("the later of two replies takes effect", async () => {
  const settings = live();
  await Promise.all([settings.replace([depth("50")]), settings.replace([depth("60")])]);
  expect(settings.maxQueueDepth()).toBe(60);
});
