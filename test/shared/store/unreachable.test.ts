import { describe, expect, test } from "vitest";
import { storeFaultOf } from "../../../shared/store/store-cause.ts";
import { isDatabaseUnreachable } from "../../../shared/store/unreachable.ts";

/** An error that a server, or a pooler in front of it, has sent. */
const sent = (code: string, message: string) =>
  Object.assign(new Error(message), { name: "PostgresError", code });

describe("isDatabaseUnreachable", () => {
  // Fails when Hyperdrive's own code, or workerd's error for a closed port, counts as a reply of the database.
  test.each([
    ["Postgres that is starting", sent("57P03", "the database system is starting up")],
    ["Postgres that is stopping", sent("57P01", "terminating connection due to administrator command")],
    ["Postgres without free connections", sent("53300", "sorry, too many clients already")],
    ["a standby", sent("25006", "cannot execute INSERT in a read-only transaction")],
    ["PgBouncer without a server", sent("08P01", "server login has been failing, try again later")],
    ["PgBouncer without free connections", sent("08P01", "no more connections allowed (max_client_conn)")],
    [
      "Hyperdrive, when the server refuses",
      sent("58000", "Server connection attempt failed: connection_refused"),
    ],
    ["Hyperdrive without a connection", sent("58000", "Failed to acquire a connection from the pool.")],
    ["workerd, at a closed port", new Error("connection attempt failed")],
    ["workerd, at a proxy", new Error("proxy request failed, cannot connect to the specified address")],
    ["workerd, disconnected", new Error("Network connection lost.")],
    ["workerd, disconnected before the write", new TypeError("This WritableStream has been closed.")],
    [
      "the driver",
      Object.assign(new Error("write CONNECTION_CLOSED db:5432"), { code: "CONNECTION_CLOSED" }),
    ],
  ])("is true for the error of %s", (_source, error) => {
    expect(isDatabaseUnreachable(error)).toBe(true);
  });

  test.each([
    ["a statement timeout", sent("57014", "canceling statement due to statement timeout")],
    ["a missing file of Postgres", sent("58P01", "could not open file")],
    ["a duplicate key", sent("23505", "duplicate key: connection attempt failed")],
    ["a TypeError of our own code", new TypeError("undefined is not a function")],
  ])("is false for %s", (_source, error) => {
    expect(isDatabaseUnreachable(error)).toBe(false);
  });
});

// The words are part of the API, and tell operators where to look.
test.each([
  ["not_migrated", sent("42P01", 'relation "runs" does not exist')],
  ["refused", sent("28P01", 'password authentication failed for user "synapse"')],
  ["refused", new Error("no login succeeded", { cause: sent("3D000", 'database "synapse" does not exist') })],
  [
    "refused",
    new Error("The queue cannot be reached", {
      cause: new Error("WRONGPASS invalid username-password pair"),
    }),
  ],
  ["refused", Object.assign(new Error("UnknownError"), { name: "403" })],
  ["unreachable", sent("57P03", "the database system is starting up")],
  ["unreachable", Object.assign(new Error("connect ECONNREFUSED 10.0.0.7:5432"), { code: "ECONNREFUSED" })],
  ["unreachable", Object.assign(new Error("write EPIPE"), { code: "EPIPE" })],
  ["failed", sent("XX001", "invalid page in block 0 of relation base/1/2")],
  ["unreachable", "no error at all"],
])("the cause of a store that does not serve is %s: %s", async (cause, error) => {
  expect(await storeFaultOf(() => Promise.reject(error), 60_000)).toBe(cause);
});
