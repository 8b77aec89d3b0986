import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import {
  Artifact,
  ArtifactName,
  artifactKey,
  artifactName,
  artifactPrefix,
  artifactUrl,
  isFileKey,
} from "../../../shared/contracts/artifact.ts";
import { readArtifacts } from "../../../shared/store/files/artifacts.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { queryInteger } from "../../http/query-integer.ts";
import { fileView } from "../../runs/file-view.ts";
import { findRun } from "../../runs/run-view.ts";

const Artifacts = z
  .object({ data: z.array(Artifact), next_cursor: z.string().nullable() })
  .meta({ id: "Artifacts" });

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/artifacts",
  operationId: "listRunArtifacts",
  tags: ["Runs"],
  summary: "List the large values and the files of a run",
  description:
    "Values over 32 KiB, by name, with those of steps that did not commit; and the files that the run's tools have written, once " +
    "their calls are committed.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: z.object({ run_id: z.string() }),
    query: z.object({
      limit: queryInteger(1, 200).default(50),
      cursor: z.union([ArtifactName, z.literal("")]).optional(),
    }),
  },
  responses: { 200: json(Artifacts, "The values"), ...problems(404) },
});

export function listArtifacts(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql, artifacts } = c.get("services");
    const { limit, cursor } = c.req.valid("query");
    const run = await findRun(sql, c.get("principal"), c.req.valid("param").run_id);
    const prefix = artifactPrefix(run.tenant_id, run.run_id);
    const after =
      cursor === undefined || cursor === "" ? undefined : artifactKey(run.tenant_id, run.run_id, cursor);
    const { objects, next } = await artifacts.list(prefix, after, limit);
    const keys = objects.map(({ key }) => key);
    const files = keys.some(isFileKey) ? await readArtifacts(sql, run.run_id, keys.filter(isFileKey)) : [];
    const rows = new Map(files.map((row) => [row.object_key, row]));
    const data = objects
      // The object of a file without a row belongs to a call that was not committed.
      .filter(({ key }) => rows.has(key) || !isFileKey(key))
      .map(({ key, size }) => {
        const row = rows.get(key);
        if (row !== undefined) return fileView(row);
        // Large values are JSON: every other object of a run is a file, which has a row.
        return { name: artifactName(key), size, content_type: "application/json", url: artifactUrl(key) };
      });
    return c.json({ data, next_cursor: next === null ? null : artifactName(next) }, 200);
  });
}
