import http from "node:http";
import type { Server } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { callDirectly, callGuarded } from "../../../worker-node/models/call-provider.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { portOf } from "../../../worker-node/ops/health-server.ts";

/** A server on this machine. @returns its address */
async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${portOf(server)}`;
}

// Fails when a worker in a network whose only way out is a proxy reaches no provider, or when the proxy resolves an address that the egress
// guard has to judge.
test("the operator's model calls go through the proxy of the environment, and those to a tenant's address do not", async () => {
  const seen: string[] = [];
  const proxy = await listening(
    http.createServer(({ url }, response) => void (seen.push(url ?? ""), response.end())),
  );
  const provider = await listening(http.createServer((_request, response) => void response.end()));
  onTestFinished(http.setGlobalProxyFromEnv({ http_proxy: proxy }));
  const url = `${provider}/v1`;
  for (const call of [callDirectly, callGuarded(createEgress("127.0.0.1"))]) {
    const { status, cancel } = await call(url);
    cancel();
    expect(status).toBe(200);
  }
  expect(seen).toEqual([url]);
});
