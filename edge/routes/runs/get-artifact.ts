import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import {
  ArtifactName,
  FileName,
  artifactKey,
  fileNameOfKey,
  isFileKey,
} from "../../../shared/contracts/artifact.ts";
import { findArtifact, readArtifacts } from "../../../shared/store/files/artifacts.ts";
import type { RunRow } from "../../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { fileResponse, fileResponses, noFile } from "../../http/file-response.ts";
import { needs } from "../../http/middleware/principal.ts";
import { findRun } from "../../runs/run-view.ts";

const body = {
  "application/json": { schema: z.unknown() },
  "application/octet-stream": { schema: z.string().meta({ format: "binary" }) },
};

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/artifacts/{name}",
  operationId: "getRunArtifact",
  tags: ["Runs"],
  summary: "Open a large value or a file of a run",
  description:
    "The value behind a reference, as JSON, or a file that a tool has written: the `url` of a reference is this path. A file is " +
    "also opened by its own name, as the run wrote it last. `Range` selects one range of the bytes; `If-Range`, `If-None-Match` and `If-Match` are compared with the `ETag`.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: z.object({ run_id: z.string(), name: z.string().max(1_000) }),
    headers: z.object({ range: z.string().optional() }),
  },
  responses: {
    200: { description: "The JSON of the value, or the file", content: body },
    ...fileResponses,
    ...problems(404),
  },
});

export function getArtifact(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const { run_id, name } = c.req.valid("param");
    const run = await findRun(sql, c.get("principal"), run_id);
    const key = await keyOf(sql, run, name);
    const [row] = isFileKey(key) ? await readArtifacts(sql, run.run_id, [key]) : [];
    return fileResponse(c, key, ({ contentType }) => {
      const file = row?.name ?? fileNameOfKey(key);
      if (file !== null) return { name: file, contentType };
      // A large value is JSON. Any other stored type is not repeated to browsers.
      const isJson = contentType === "application/json";
      return {
        name: `${name.replaceAll(/[^\w.-]/g, "_")}.json`,
        contentType: isJson ? contentType : "application/octet-stream",
      };
    });
  });
}

/**
 * The key of the object that a name in a URL stands for: the object with this name, else the newest version of the file with this
 * name. @throws AppError `not_found`
 */
async function keyOf(sql: Sql, { tenant_id, run_id }: RunRow, name: string): Promise<string> {
  const own = ArtifactName.safeParse(name);
  if (own.success && name.includes("~")) return artifactKey(tenant_id, run_id, name);
  const file = FileName.safeParse(name);
  const row = file.success ? await findArtifact(sql, run_id, file.data) : null;
  if (row === null) throw noFile();
  return row.object_key;
}
