import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { ArtifactName, artifactKey } from "../../../shared/contracts/artifact.ts";
import { AppError } from "../../../shared/errors.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { byteRangeOf } from "../../http/byte-range.ts";
import { needs } from "../../http/middleware/principal.ts";
import { findRun } from "../../runs/run-view.ts";

const body = { "application/json": { schema: z.unknown() } };

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/artifacts/{name}",
  operationId: "getRunArtifact",
  tags: ["Runs"],
  summary: "Open a large value of a run",
  description:
    "The value behind a reference, as JSON: the `url` of a reference is this path. `Range` selects one range of its bytes.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: z.object({ run_id: z.string(), name: ArtifactName }),
    headers: z.object({ range: z.string().optional() }),
  },
  responses: {
    200: { description: "The JSON of the value", content: body },
    206: { description: "The bytes that `Range` selects", content: body },
    416: { description: "The range begins after the end; `Content-Range` has the size" },
    ...problems(404),
  },
});

export function getArtifact(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql, artifacts } = c.get("services");
    const { run_id, name } = c.req.valid("param");
    const run = await findRun(sql, c.get("principal"), run_id);
    const key = artifactKey(run.tenant_id, run.run_id, name);
    const facts = await artifacts.facts(key);
    if (facts === null) throw noArtifact();
    const { size, etag, contentType } = facts;
    const range = byteRangeOf(c.req.header("range"), size);
    const headers = {
      "accept-ranges": "bytes",
      // A model or a tool wrote the value: no browser may take it for a page of this origin.
      "content-type": contentType === "application/json" ? contentType : "application/octet-stream",
      "content-disposition": `attachment; filename="${name.replaceAll(/[^\w.-]/g, "_")}.json"`,
      "x-content-type-options": "nosniff",
      "cache-control": "private, no-cache",
      etag,
    };
    if (range === "unsatisfiable") {
      return new Response(null, { status: 416, headers: { ...headers, "content-range": `bytes */${size}` } });
    }
    const { offset, length } = range ?? { offset: 0, length: size };
    const part = range === null ? {} : { "content-range": `bytes ${offset}-${offset + length - 1}/${size}` };
    const init = {
      status: range === null ? 200 : 206,
      headers: { ...headers, ...part, "content-length": String(length) },
    };
    // A HEAD needs no read.
    if (c.req.raw.method === "HEAD") return new Response(null, init);
    const bytes = await artifacts.read(key, { offset, length });
    if (bytes === null) throw noArtifact();
    return new Response(bytes, init);
  });
}

function noArtifact(): AppError {
  return new AppError("not_found", "This run has no such artifact.");
}
