import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { ClientDay } from "../../../shared/contracts/time.ts";
import { findTenant } from "../../../shared/store/tenants/tenant-rows.ts";
import { readUsage } from "../../../shared/store/tenants/usage.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { invalidFields } from "../../http/problem.ts";
import { noTenant, requireOwnTenant } from "../../operations/tenant-change.ts";

const DAY_MS = 86_400_000;
/** The most days of one request. */
const MAX_DAYS = 31;

const UsageOfTenant = z
  .object({
    tenant_id: TenantId,
    from: z.iso.date(),
    to: z.iso.date(),
    days: z.array(
      z.object({
        day: z.iso.date(),
        model: z.string().meta({ description: "`provider/model`" }),
        calls: z.number().int(),
        input_tokens: z.number().int(),
        output_tokens: z.number().int(),
        cost_usd: z.number(),
      }),
    ),
    total_tokens: z.number().int(),
    total_cost_usd: z.number(),
    artifact_bytes: z.number().int().meta({ description: "The bytes of all its files now" }),
  })
  .meta({ id: "Usage" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/tenants/{id}/usage`,
    operationId: operationIdAt(prefix, "getUsage"),
    tags: ["Operations"],
    summary: "Read what a tenant has used",
    description:
      `Model calls by day (of UTC) and model, from the day \`from\` up to and including \`to\`: ${MAX_DAYS} days at most, ` +
      "by default the last 30 and today. The sums over all days are those of the tenant's runs. A tenant's key reads its own tenant.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: {
      params: z.object({ id: TenantId }),
      query: z.object({ from: ClientDay.optional(), to: ClientDay.optional() }),
    },
    responses: { 200: json(UsageOfTenant, "The usage"), ...problems(404) },
  });

export const getUsage = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const { id } = c.req.valid("param");
    requireOwnTenant(c.get("principal"), id);
    const { from, to } = rangeOf(c.req.valid("query"), Date.now());
    const tenant = await findTenant(sql, id);
    if (!tenant) throw noTenant();
    const rows = await readUsage(sql, id, from, to);
    const days = rows.map(({ provider, model, cost_micro_usd, ...row }) => ({
      ...row,
      model: `${provider}/${model}`,
      cost_usd: cost_micro_usd / 1_000_000,
    }));
    const total_tokens = rows.reduce((sum, row) => sum + row.input_tokens + row.output_tokens, 0);
    const total_cost_usd = rows.reduce((sum, row) => sum + row.cost_micro_usd, 0) / 1_000_000;
    const { artifact_bytes } = tenant;
    return c.json({ tenant_id: id, from, to, days, total_tokens, total_cost_usd, artifact_bytes }, 200);
  });
};

/** The first and the last day to read. @throws AppError `invalid` for an empty range, and for more than 31 days */
function rangeOf(query: { from?: string | undefined; to?: string | undefined }, nowMs: number) {
  const to = query.to ?? dayOf(nowMs);
  const from = query.from ?? dayOf(Date.parse(to) - (MAX_DAYS - 1) * DAY_MS);
  const days = (Date.parse(to) - Date.parse(from)) / DAY_MS + 1;
  if (days >= 1 && days <= MAX_DAYS) return { from, to };
  const message = `must be at most ${MAX_DAYS} days before to, and not after it`;
  throw invalidFields([{ path: "from", message }]);
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
