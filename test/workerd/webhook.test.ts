/** Webhooks of requests in real workerd: they use its WebCrypto and the bundle's address rule. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { masterKey, placeOf, unseal } from "../../shared/seal.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { startEdge, type Edge } from "./edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
}, 60_000);
afterAll(() => edge.stop());

// Fails when Node cannot open what the Worker seals.
test("a webhook secret that the edge seals opens in a worker", async () => {
  const webhook_secret = "whispered-sécret-42";
  const run = await edge.start({ webhook_url: "https://hooks.example.com/", webhook_secret });
  const [row] = await edge.stores.sql`select webhook_secret from runs where run_id = ${run}`;
  const sealed = String(row?.["webhook_secret"]);
  expect(await unseal(masterKey().parse(MASTER_KEY), sealed, placeOf(run, SECRET_FIELD))).toBe(
    webhook_secret,
  );
});

test("a webhook to a private address is refused", async () => {
  const path = "/api/v2/orchestrations/orch_smoke/run";
  const answer = await edge.call("POST", path, { body: { webhook_url: "http://169.254.169.254/" } });
  expect([answer.status, await answer.json()]).toMatchObject([422, { code: "invalid" }]);
});
