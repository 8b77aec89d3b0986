import { describe, expect, test } from "vitest";
import { isDatabaseUnreachable } from "../../../shared/store/unreachable.ts";

/** What a server, or a pooler before it, has sent. */
const told = (code: string, message: string) =>
  Object.assign(new Error(message), { name: "PostgresError", code });

describe("whether a database is away, by the words of who says so", () => {
  // Red when: Hyperdrive's own code, or what workerd says of a closed port, is taken for an answer of the database.
  test.each([
    ["Postgres, which starts", told("57P03", "the database system is starting up")],
    ["Postgres, which stops", told("57P01", "terminating connection due to administrator command")],
    ["Postgres, which is full", told("53300", "sorry, too many clients already")],
    ["a standby", told("25006", "cannot execute INSERT in a read-only transaction")],
    ["PgBouncer without a server", told("08P01", "server login has been failing, try again later")],
    ["PgBouncer, which is full", told("08P01", "no more connections allowed (max_client_conn)")],
    ["Hyperdrive, refused", told("58000", "Server connection attempt failed: connection_refused")],
    ["Hyperdrive without a connection", told("58000", "Failed to acquire a connection from the pool.")],
    ["workerd, at a closed port", new Error("connection attempt failed")],
    ["workerd, at a proxy", new Error("proxy request failed, cannot connect to the specified address")],
    ["workerd, cut off", new Error("Network connection lost.")],
    ["workerd, cut off before it was written to", new TypeError("This WritableStream has been closed.")],
    [
      "the driver",
      Object.assign(new Error("write CONNECTION_CLOSED db:5432"), { code: "CONNECTION_CLOSED" }),
    ],
  ])("%s: it is", (_who, error) => {
    expect(isDatabaseUnreachable(error)).toBe(true);
  });

  test.each([
    ["a statement that took too long", told("57014", "canceling statement due to statement timeout")],
    ["a file that Postgres misses", told("58P01", "could not open file")],
    ["a row that is there already", told("23505", "duplicate key: connection attempt failed")],
    ["a mistake of ours", new TypeError("undefined is not a function")],
  ])("%s: it is not", (_who, error) => {
    expect(isDatabaseUnreachable(error)).toBe(false);
  });
});
