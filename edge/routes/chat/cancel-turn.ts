import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId, SessionId } from "../../../shared/contracts/ids.ts";
import { AppError } from "../../../shared/errors.ts";
import { readTurn } from "../../../shared/store/chat/turns.ts";
import { findSession, noTurn, SESSION_PATH, SessionParams } from "../../chat/session-view.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { cancel } from "../../runs/cancel.ts";

const route = createRoute({
  method: "post",
  path: `${SESSION_PATH}/cancel`,
  operationId: "cancelChatTurn",
  tags: ["Chat"],
  summary: "Stop the turn that is under way",
  description:
    "The text so far stays in the history, marked `cut`. The next turn that waits begins. With `turn_id` another turn is " +
    "cancelled, such as one that waits. 409 when the turn has ended, or no turn is under way.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: { params: SessionParams, query: z.object({ turn_id: z.string().optional() }) },
  responses: {
    200: json(
      z.object({
        status: z.enum(["cancellation_requested", "cancelled"]),
        session_id: SessionId,
        turn_id: RunId,
      }),
      "Cancelled, or about to be cancelled",
    ),
    ...problems(404, 409),
  },
});

export function cancelTurn(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const principal = c.get("principal");
    const session = await findSession(services.sql, principal, c.req.valid("param").session_id);
    const { turn_id = session.run_id } = c.req.valid("query");
    const run = RunId.safeParse(turn_id);
    const turn = run.success
      ? await readTurn(services.sql, session.session_id, { is: "run", run: run.data })
      : null;
    if (!turn) throw noTurn();
    const status = await cancel(services, principal.tenant, turn.run_id);
    if (status === null) throw noTurn();
    if (status === "finished") throw new AppError("run_finished", "The turn has already ended.");
    return c.json({ status, session_id: session.session_id, turn_id: turn.run_id }, 200);
  });
}
