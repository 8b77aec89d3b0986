import { expect, test } from "vitest";
import { settingPlace } from "../../../shared/contracts/setting.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { seal } from "../../../shared/security/seal.ts";
import { LiveSettings } from "../../../worker-node/fleet/live-settings.ts";

const MASTER_KEY = masterKey().parse("0123456789abcdef".repeat(4));
const live = (more: { MASTER_KEY?: typeof MASTER_KEY } = { MASTER_KEY }) =>
  new LiveSettings({ MAX_GLOBAL_QUEUE_DEPTH: 1_000, METRICS_TOKEN: "token of the variable", ...more });
const depth = (value: string) => ({ name: "MAX_GLOBAL_QUEUE_DEPTH", value });

test("a setting holds in place of the variable, and the variable again without it", async () => {
  const settings = live();
  expect([settings.maxQueueDepth(), settings.maxShardDepth(3), settings.metricsToken()]).toEqual([
    1_000,
    334,
    "token of the variable",
  ]);
  await settings.replace([
    depth("50"),
    {
      name: "METRICS_TOKEN",
      value: await seal(MASTER_KEY, "token of the setting", settingPlace("METRICS_TOKEN")),
    },
  ]);
  expect([settings.maxShardDepth(4), settings.metricsToken()]).toEqual([13, "token of the setting"]);
  await settings.replace([]);
  expect([settings.maxQueueDepth(), settings.metricsToken()]).toEqual([1_000, "token of the variable"]);
});

// Fails when a setting of another version, or a secret of another key, stops the ones beside it.
test("a setting that this worker cannot use is left out, and the others hold", async () => {
  const settings = live({});
  await settings.replace([
    depth("50"),
    {
      name: "METRICS_TOKEN",
      value: await seal(MASTER_KEY, "token of the setting", settingPlace("METRICS_TOKEN")),
    },
    { name: "OF_A_LATER_VERSION", value: "1" },
  ]);
  expect([settings.maxQueueDepth(), settings.metricsToken()]).toEqual([50, "token of the variable"]);
  await settings.replace([depth("0")]);
  expect(settings.maxQueueDepth()).toBe(1_000);
});

// Fails when the slower opening of older settings replaces newer ones.
test("of two replies the later one holds", async () => {
  const settings = live();
  await Promise.all([settings.replace([depth("50")]), settings.replace([depth("60")])]);
  expect(settings.maxQueueDepth()).toBe(60);
});
