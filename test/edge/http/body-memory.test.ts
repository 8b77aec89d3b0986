import { Hono } from "hono";
import { expect, test } from "vitest";
import type { ApiEnv } from "../../../edge/http/api.ts";
import { withinBodyMemory } from "../../../edge/http/body-memory.ts";
import { problemResponse } from "../../../edge/http/problem.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";

const MIB = 1024 * 1024;

// Fails when bodies are bounded for each tenant, and not for all tenants together: an isolate has 128 MB.
test("large bodies of all tenants together hold at most 64 MiB, and a small one is accepted beside them", async () => {
  const accepted = Promise.withResolvers<void>();
  let isFirst = true;
  const app = new Hono<ApiEnv>();
  app.onError((error) => problemResponse(error, "request"));
  app.post("/:tenant", (c) =>
    withinBodyMemory(c, TenantId.parse(c.req.param("tenant")), async () => {
      if (isFirst) await accepted.promise;
      return c.text("accepted");
    }),
  );
  const post = async (tenant: string, bytes: number) =>
    (await app.request(`/${tenant}`, { method: "POST", headers: { "content-length": String(bytes) } }))
      .status;
  const held = ["t1", "t2", "t3", "t4", "t5", "t6"].map((tenant) => post(tenant, 10 * MIB));
  expect(await post("t7", 10 * MIB)).toBe(503);
  isFirst = false;
  expect(await post("t8", 1_000)).toBe(200);
  accepted.resolve();
  expect(await Promise.all(held)).toEqual(Array(6).fill(200));
  expect(await post("t7", 10 * MIB)).toBe(200);
});
