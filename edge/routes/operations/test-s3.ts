import { createRoute } from "@hono/zod-openapi";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { DEFAULT_PREFIX, S3Request, s3RefusalOf, s3TargetOf } from "../../operations/s3-test.ts";
import { StoreTest, testStore } from "../../operations/store-test.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/test-s3`,
    operationId: operationIdAt(prefix, "testS3"),
    tags: ["Operations"],
    summary: "Test whether this edge can use its object store, or another bucket",
    description:
      "Without fields it tests the bucket that this edge uses: that of the settings `S3_…` as below, else it lists one object of the bucket behind the binding ARTIFACTS. With a bucket and its keys it lists one object, writes one under `s3_prefix` and deletes it again. The endpoint must be Amazon's or Cloudflare's, or its host must be named in EGRESS_ALLOW (403 otherwise). Nothing of the request is stored.",
    security: [{ key: ["admin"] }],
    middleware: [
      needsPlatform("admin"),
      jsonBody({ schema: S3Request, optional: true }),
      audited("testS3"),
    ] as const,
    request: { body: { content: { "application/json": { schema: S3Request } } } },
    responses: { 200: json(StoreTest, "The outcome"), ...problems(400, 413, 415) },
  });

export const testS3At = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { artifacts, config, tryS3 } = c.get("services");
    const own = config.s3 && { ...config.s3, prefix: DEFAULT_PREFIX };
    const target = s3TargetOf(config, c.req.valid("json") ?? {}) ?? own;
    if (target === null) return c.json(await testStore(() => artifacts.list("", undefined, 1)), 200);
    return c.json(await testStore(() => tryS3(target), s3RefusalOf), 200);
  });
};
