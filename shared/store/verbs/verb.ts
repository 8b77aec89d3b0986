import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/**
 * One operation of a worker on the store. Arguments and result are plain JSON, so that a verb can go over HTTP.
 *
 * `name` is the verb's key in StateStore and the last part of its path, below STATE_PATH.
 */
type Verb<Args extends unknown[], Result> = {
  name: string;
  args: z.ZodType<Args>;
  result: z.ZodType<Result>;
  run(this: void, sql: Sql, ...args: Args): Promise<Result>;
};

/** Makes a verb callable. Each implementation of StateStore has its own. */
export type Bind = <Args extends unknown[], Result>(
  verb: Verb<Args, Result>,
) => (...args: Args) => Promise<Result>;

/** The most runs that one call of a verb names. */
export const runIds = z.array(RunId).max(1_000);
