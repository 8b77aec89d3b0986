import type { Sql } from "./sql.ts";
import { bindVerbs } from "./verbs.ts";

/** The store as workers see it. Two implementations: Postgres directly, and the edge's internal route in front of it. */
export type StateStore = ReturnType<typeof bindVerbs>;
/** The name of a verb. */
export type VerbName = keyof StateStore;

/**
 * The path below which the edge serves the verbs. Its number rises with each change of a verb's arguments or results that the other
 * side would misread: workers then wait for edges that know it (404), and no edge drops what it does not know. 2: earlier results; 3: chat
 * turns, child runs, files, wasted and estimated usage, and reservations in budgets.
 */
export const STATE_PATH = "/internal/state/3";

/** Executes the query of a verb: it chooses the connection and the time limit. */
export type RunQuery = <Result>(
  query: (sql: Sql) => Promise<Result>,
  verb: { name: string; args: readonly unknown[] },
) => Promise<Result>;

/** The store in Postgres, with the caller's own choice of connection and time limit for each query. */
export function stateStoreBy(runQuery: RunQuery): StateStore {
  return bindVerbs(
    ({ name, run }) =>
      (...args) =>
        runQuery((sql) => run(sql, ...args), { name, args }),
  );
}

/** The store in Postgres, over one pool. */
export function stateStore(sql: Sql): StateStore {
  return stateStoreBy((query) => query(sql));
}

/**
 * The store behind the edge.
 * @param post sends a verb's arguments and returns the JSON of its result
 */
export function remoteStateStore(post: (name: string, args: unknown[]) => Promise<unknown>): StateStore {
  return bindVerbs(
    ({ name, result }) =>
      async (...args) =>
        result.parse(await post(name, args)),
  );
}

/** Runs a verb for arguments that nothing has validated yet. It throws a ZodError when they are not the verb's. */
type VerbHandler = (sql: Sql, args: unknown) => Promise<unknown>;

/** The edge's side of `remoteStateStore`: the handler of the verb in an HTTP path; null when there is no such verb. */
export function findVerb(name: string): VerbHandler | null {
  return handlers.get(name) ?? null;
}

const handlers = new Map<string, VerbHandler>();
bindVerbs((verb) => {
  handlers.set(verb.name, (sql, args) => verb.run(sql, ...verb.args.parse(args)));
  return () => Promise.reject(new Error("a handler is called by its name"));
});
