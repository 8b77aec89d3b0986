import type { Context } from "hono";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { findVerb } from "../../../shared/store/state.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { isDatabaseUnreachable, sqlState } from "../../../shared/store/unreachable.ts";
import { verify } from "../../http/hmac.ts";
import { log } from "../../../shared/log.ts";
import { invalidFields } from "../../http/problem.ts";

/** The clocks of a worker and of the edge may differ by this much; a recorded request is valid no longer. */
const MAX_SKEW_MS = 60_000;

/**
 * Runs a verb of the store for workers that cannot reach Postgres directly: `POST /internal/state/<verb>` with the
 * verb's arguments, through Hyperdrive. The body is signed: `X-Synapse-Signature: t=<unix seconds>,v1=<HMAC-SHA256 of
 * "<t>.<verb>.<body>">`. Every verb is a statement that may be repeated, so a replay does no harm.
 *
 * When Postgres fails the response is 503 `{sqlstate}`, so that the worker decides as it would on its own connection.
 */
export function callState(api: Api): void {
  api.post("/internal/state/:verb", async (c) => {
    const name = c.req.param("verb");
    const { config, stateSql } = c.get("services");
    const body = await c.req.text();
    if (!config.STATE_SECRET) throw new AppError("not_found", "There is no such path.");
    if (!(await isSigned(c, config.STATE_SECRET, name, body))) {
      throw new AppError("unauthorized", "The request is not signed by a worker of this installation.");
    }
    const verb = findVerb(name);
    if (!verb) throw new AppError("not_found", "There is no such verb.");
    try {
      return c.json(await verb(stateSql, JSON.parse(body)));
    } catch (error) {
      if (error instanceof z.ZodError) throw invalidFields(error);
      const sqlstate = sqlState(error);
      if (sqlstate === undefined && !isDatabaseUnreachable(error)) throw error;
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
