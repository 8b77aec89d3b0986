import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { UploadId, uploadKey } from "../../../shared/contracts/artifact.ts";
import { readUpload } from "../../../shared/store/files/uploads.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { fileResponse, fileResponses } from "../../http/file-response.ts";
import { needs } from "../../http/middleware/principal.ts";
import { noUpload } from "../../uploads/upload-view.ts";
import { UPLOADS_PATH } from "./create-upload.ts";

const route = createRoute({
  method: "get",
  path: `${UPLOADS_PATH}/{id}`,
  operationId: "getUpload",
  tags: ["Files"],
  summary: "Open an upload",
  description:
    "The bytes of the file. `Range` selects one range of them; `If-Range`, `If-None-Match` and `If-Match` are compared with the `ETag`.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: z.object({ id: UploadId }),
    headers: z.object({ range: z.string().optional() }),
  },
  responses: {
    200: {
      description: "The file",
      content: { "application/octet-stream": { schema: z.string().meta({ format: "binary" }) } },
    },
    ...fileResponses,
    ...problems(404),
  },
});

export function getUpload(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const upload = await readUpload(sql, c.get("principal").tenant, c.req.valid("param").id);
    if (upload === null) throw noUpload();
    const { name, content_type: contentType } = upload;
    return fileResponse(c, uploadKey(upload.tenant_id, upload.upload_id), () => ({ name, contentType }));
  });
}
