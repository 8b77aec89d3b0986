import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { LaneChange, laneChangeErrors } from "../../../shared/contracts/lane-settings.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { changeLane as change } from "../../../shared/store/lanes/lane-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { LaneSettingsView, viewOfLane } from "../../operations/lane-view.ts";

const Request = LaneChange.meta({ id: "LaneChange" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "patch",
    path: `${prefix}/queue/{lane}`,
    operationId: operationIdAt(prefix, "changeLane"),
    tags: ["Operations"],
    summary: "Change the settings of a lane",
    description:
      "Absent fields keep their value; null returns a setting to its default. A change acts within 5 s on every worker, and what has " +
      "begun goes on as it began. `weight`: the lanes of runs take turns in proportion to it. `slots`: the most that one worker does " +
      "of the lane at once. `starts_per_second`: the most starts of all workers together. `attempts`: the crashes after which a run " +
      "fails, or the tries of a delivery. `first_backoff_seconds`: the wait before the second of them; it doubles, up to an hour. " +
      "`timeout_seconds`: the most time of a run, or of one try. `keep_…`: how long, and how many of each tenant, ended runs, " +
      "deliveries and mails are kept (`completed`: those that succeeded; `failed`: the others). Runs are kept for an hour in any case, and " +
      "a tenant's `retention` may delete them earlier. " +
      "`GET …/queue` shows what holds.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), jsonBody({ schema: LaneChange }), audited("changeLane")] as const,
    request: {
      params: z.object({ lane: Lane }),
      body: { required: true, content: { "application/json": { schema: Request } } },
    },
    responses: {
      200: json(LaneSettingsView, "The settings that hold now"),
      ...problems(400, 404, 413, 415, 422),
    },
  });

export const changeLane = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { lane } = c.req.valid("param");
    c.set("audit", { target: lane, tenant: null });
    const request = c.req.valid("json");
    const fields = laneChangeErrors(lane, request);
    if (fields.length > 0) {
      throw new AppError("invalid", fields.map(({ path, message }) => `${path}: ${message}`).join("; "), {
        fields,
      });
    }
    return c.json(viewOfLane(lane, await change(c.get("services").sql, lane, request)), 200);
  });
};
