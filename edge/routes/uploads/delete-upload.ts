import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { UploadId, uploadKey } from "../../../shared/contracts/artifact.ts";
import { AppError } from "../../../shared/errors.ts";
import { deleteUpload as remove } from "../../../shared/store/files/uploads.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { noUpload } from "../../uploads/upload-view.ts";
import { UPLOADS_PATH } from "./create-upload.ts";

const route = createRoute({
  method: "delete",
  path: `${UPLOADS_PATH}/{id}`,
  operationId: "deleteUpload",
  tags: ["Files"],
  summary: "Delete an upload that no run uses",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: { params: z.object({ id: UploadId }) },
  responses: { 204: { description: "Deleted" }, ...problems(404, 409) },
});

export function deleteUpload(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql, artifacts } = c.get("services");
    const { tenant } = c.get("principal");
    const deleted = await remove(sql, tenant, c.req.valid("param").id);
    if (deleted === null) throw noUpload();
    if (deleted === "used") {
      throw new AppError("upload_in_use", "A run uses this upload, so it is kept as long as the run.");
    }
    // After the row, never before: the API shows no upload without its bytes. When the edge dies here, the reconciler deletes the object.
    await artifacts.delete(uploadKey(deleted.tenant_id, deleted.upload_id));
    return c.body(null, 204);
  });
}
