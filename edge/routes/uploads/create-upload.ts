import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { newUploadId } from "../../../shared/contracts/artifact.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { readUploadRoom } from "../../../shared/store/files/uploads.ts";
import { namedDigestsOf } from "../../http/content-digest.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { requireTenant } from "../../http/require-tenant.ts";
import { fileNameOf, lengthOf, mediaTypeOf } from "../../uploads/file-of-request.ts";
import { refuseWithoutRoom, storeUpload } from "../../uploads/store-upload.ts";
import { UploadView, uploadView } from "../../uploads/upload-view.ts";

/** The path of uploads. `limitBody` leaves it out: the body has the tenant's limit, and is not read into memory. */
export const UPLOADS_PATH = "/api/v2/uploads";

const route = createRoute({
  method: "post",
  path: UPLOADS_PATH,
  operationId: "createUpload",
  tags: ["Files"],
  summary: "Upload a file",
  description:
    "The body is the file itself, with its Content-Type and Content-Length. Runs use it by its id in `attachments`, or by its " +
    "`ref` in `state`. An upload that no run has named within 24 hours is deleted; else it is kept as long as the run.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: {
    headers: z.object({
      "content-digest": z.string().optional().meta({
        description:
          "`sha-256=:base64:` (RFC 9530). A file that has another SHA-256 is a 400, and is not stored",
      }),
    }),
    query: z.object({
      name: z.string().optional().meta({ description: "Default: the file name of Content-Disposition" }),
      tenant_id: TenantId.optional(),
    }),
    body: {
      required: true,
      content: { "application/octet-stream": { schema: z.string().meta({ format: "binary" }) } },
    },
  },
  responses: { 201: json(UploadView, "Stored"), ...problems(400, 409, 411, 413, 415) },
});

export function createUpload(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { name: named, tenant_id } = c.req.valid("query");
    const tenant = tenantOf(c.get("principal"), tenant_id, services.config.DEFAULT_TENANT_ID);
    const header = (of: string) => c.req.header(of);
    const name = fileNameOf(named, header("content-disposition"));
    const content_type = mediaTypeOf(header);
    await requireTenant(services, tenant);
    const room = await readUploadRoom(services.sql, tenant);
    const bytes = lengthOf(header, room.maxBytes);
    refuseWithoutRoom(room, bytes);
    const begun = { upload_id: newUploadId(), tenant_id: tenant, name, content_type, bytes };
    const digests = namedDigestsOf(c);
    const upload = await storeUpload(services, begun, c.req.raw.body, digests);
    return c.json(uploadView(upload), 201);
  });
}
