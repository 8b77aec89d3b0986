import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { STATE_PATH, findVerb } from "../../../shared/store/state.ts";
import type { Api } from "../../http/api.ts";
import { isDatabaseUnreachable, sqlState } from "../../../shared/store/unreachable.ts";
import { verify } from "../../http/hmac.ts";
import { log } from "../../../shared/log.ts";
import { notSigned, readSignature } from "../../http/middleware/signed-head.ts";
import { schemaError } from "../../http/problem.ts";

/**
 * Runs a verb of the store for workers that cannot reach Postgres directly: `POST /internal/state/3/<verb>`, whose body has the
 * verb's arguments. Head and body are signed: `X-Synapse-Signature: t=<unix seconds>,h1=<HMAC-SHA256 of "<t>.<path>.<content
 * length>">,v1=<HMAC-SHA256 of "<t>.<verb>.<body>">`. `signedHead` verifies `h1` before the body is read; `v1` is verified here.
 * Every verb is a statement that may be repeated, so a repeated request does no harm.
 *
 * When Postgres fails, the response is 503 `{sqlstate}`, so that the worker decides as it would on its own connection.
 */
export function callState(api: Api): void {
  api.post(`${STATE_PATH}/:verb`, async (c) => {
    const name = c.req.param("verb");
    const { config, stateSql } = c.get("services");
    const body = await c.req.text();
    const signature = readSignature(c.req.header("x-synapse-signature"));
    const isSigned = await verify(
      config.STATE_SECRET ?? "",
      `${signature.at}.${name}.${body}`,
      signature.body,
    );
    if (!isSigned) throw notSigned();
    const verb = findVerb(name);
    if (!verb) throw new AppError("not_found", "There is no such verb.");
    try {
      return c.json(await verb(stateSql, JSON.parse(body)));
    } catch (error) {
      if (error instanceof z.ZodError) throw schemaError(error);
      const sqlstate = sqlState(error);
      if (sqlstate === undefined && !isDatabaseUnreachable(error)) throw error;
      log.info("state.failed", { verb: name, sqlstate });
      return c.json({ sqlstate: /^[0-9A-Z]{5}$/.test(sqlstate ?? "") ? sqlstate : null }, 503);
    }
  });
}
