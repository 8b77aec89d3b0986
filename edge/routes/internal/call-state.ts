import type { Context } from "hono";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { findVerb } from "../../../shared/store/state.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { isDatabaseAway, sqlState } from "../../clients/postgres.ts";
import { verify } from "../../http/hmac.ts";
import { log } from "../../log.ts";
import { invalidFields } from "../../http/problem.ts";

/** How far a worker's clock may be from ours; a recorded request is good for no longer than this. */
const MAX_SKEW_MS = 60_000;

/**
 * What workers ask of Postgres when they cannot reach it themselves: `POST /internal/state/<verb>` with the verb's
 * arguments, through Hyperdrive. A body is signed: `X-Synapse-Signature: t=<unix seconds>,v1=<HMAC-SHA256 of
 * "<t>.<verb>.<body>">`. Every verb is a statement that may be repeated, so a replay does no harm.
 *
 * When Postgres fails the answer is 503 `{sqlstate}`, so that a worker decides as if it had asked it itself.
 */
export function callState(api: Api): void {
  api.post("/internal/state/:verb", async (c) => {
    const name = c.req.param("verb");
    const { config, sql } = c.get("services");
    const body = await c.req.text();
    if (!config.STATE_SECRET) throw new AppError("not_found", "There is no such path.");
    if (!(await isSigned(c, config.STATE_SECRET, name, body))) {
      throw new AppError("unauthorized", "The request is not signed by a worker of this installation.");
    }
    const verb = findVerb(name);
    if (!verb) throw new AppError("not_found", "There is no such verb.");
    try {
      return c.json(await verb(sql, JSON.parse(body)));
    } catch (error) {
      if (error instanceof z.ZodError) throw invalidFields(error);
      const sqlstate = sqlState(error);
      if (sqlstate === undefined && !isDatabaseAway(error)) throw error;
      log.info("state.failed", { verb: name, sqlstate });
      return c.json({ sqlstate: /^[0-9A-Z]{5}$/.test(sqlstate ?? "") ? sqlstate : null }, 503);
    }
  });
}

async function isSigned(c: Context<ApiEnv>, secret: string, verb: string, body: string): Promise<boolean> {
  const [, t = "", v1 = ""] =
    /^t=([0-9]{1,12}),v1=([0-9a-f]{64})$/.exec(c.req.header("x-synapse-signature") ?? "") ?? [];
  const fresh = t !== "" && Math.abs(Date.now() - Number(t) * 1000) <= MAX_SKEW_MS;
  return fresh && verify(secret, `${t}.${verb}.${body}`, v1);
}
