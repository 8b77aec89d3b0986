import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { readSettings } from "../../../shared/store/settings.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { readLanes } from "../../../shared/store/lanes/lane-rows.ts";
import { ConfigView, configOf, lanesOf } from "../../operations/config-view.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/config`,
    operationId: operationIdAt(prefix, "getConfig"),
    tags: ["Operations"],
    summary: "Read the variables and settings of this edge, and the settings of lanes",
    description:
      "Each with its effective value, where it comes from, and what changes it: PATCH, for those that act while the system runs; `live` names the processes that apply a change within 5 s. Secrets are masked. Postgres is the binding HYPERDRIVE, whose " +
      "address an edge does not know; workers have variables of their own.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    responses: { 200: json(z.array(ConfigView), "The variables"), ...problems() },
  });

export const getConfig = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const [settings, lanes] = await Promise.all([readSettings(sql), readLanes(sql)]);
    return c.json([...configOf(c.env, settings), ...lanesOf(lanes)], 200);
  });
};
