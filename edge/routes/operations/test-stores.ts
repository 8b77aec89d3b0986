import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { StoreTest, allowedTarget, testStore } from "../../operations/store-test.ts";
import type { Services } from "../../services.ts";

const url = z.string().min(1).max(2_000).optional();

/** The test of each kind of store. `own`: tests the store of this edge. `other`: tests the store at a URL. */
const TESTS = {
  redis: {
    operation: "testRedis",
    schema: z.object({ redis_url: url }).meta({ id: "TestRedis" }),
    protocols: ["redis:", "rediss:"],
    own: ({ queue }: Services) =>
      // A cold queue is reachable: its Redis has replied.
      queue.stats(0).catch((error: unknown) => {
        if (!(error instanceof ColdError)) throw error;
      }),
    other: ({ tryRedis }: Services, target: string) => tryRedis(target),
  },
  postgres: {
    operation: "testPostgres",
    schema: z.object({ postgres_url: url }).meta({ id: "TestPostgres" }),
    protocols: ["postgres:", "postgresql:"],
    own: async ({ sql }: Services) => sql`select 1`,
    other: ({ tryPostgres }: Services, target: string) => tryPostgres(target),
  },
} as const;

const routeAt = (prefix: string, name: keyof typeof TESTS) => {
  const { operation, schema } = TESTS[name];
  return createRoute({
    method: "post",
    path: `${prefix}/test-${name}`,
    operationId: operationIdAt(prefix, operation),
    tags: ["Operations"],
    summary: `Test whether this edge can use its ${name === "redis" ? "Redis" : "Postgres"}, or another one`,
    description: `Without \`${name}_url\` its own. The host of a URL must be one of its own or be named in EGRESS_ALLOW (403 otherwise).`,
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), jsonBody({ schema, optional: true }), audited(operation)] as const,
    request: { body: { content: { "application/json": { schema } } } },
    responses: { 200: json(StoreTest, "The outcome"), ...problems(400, 413, 415) },
  });
};

export const testStoreAt = (prefix: string, name: keyof typeof TESTS) => (api: Api) => {
  const { schema, protocols, own, other } = TESTS[name];
  api.openapi(routeAt(prefix, name), async (c) => {
    const services = c.get("services");
    const [[field, address] = ["", undefined]] = Object.entries(schema.parse(c.req.valid("json") ?? {}));
    if (address === undefined) return c.json(await testStore(() => own(services)), 200);
    const target = allowedTarget(services.config, address, protocols, field);
    return c.json(await testStore(() => other(services, target)), 200);
  });
};
