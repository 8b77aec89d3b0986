import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import postgres from "postgres";
import { expect, test } from "vitest";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { postgresStateStore } from "../../../worker-node/clients/postgres-state.ts";
import { SpreadStatements } from "../../../worker-node/clients/spread-statements.ts";
import { setStandby } from "../../services/databases.ts";
import { freshDatabase } from "../../services/services.ts";

/** No connection is opened to it. */
const unused = "postgres://127.0.0.1:1/none";

/** A proxy to `url` that can drop all bytes without closing a connection, so that neither end notices. */
async function linkTo(url: string) {
  const target = new URL(url);
  const port = Number(target.port);
  let swallows = false;
  const pipe = (from: Socket, to: Socket) => {
    from.on("data", (bytes) => {
      if (!swallows) to.write(bytes);
    });
    from.on("close", () => to.destroy());
    from.on("error", () => to.destroy());
  };
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((client) => {
    connections += 1;
    const upstream = connect(port, target.hostname);
    for (const socket of [client, upstream]) sockets.add(socket);
    pipe(client, upstream);
    pipe(upstream, client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("the link has no port");
  target.port = String(address.port);
  return {
    url: target.href,
    connections: () => connections,
    swallow: (isOn: boolean) => {
      swallows = isOn;
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

// Fails when the pool is kept although a statement got no reply.
test("after a statement without a reply, the next one uses new connections", async () => {
  const link = await linkTo(await freshDatabase());
  const { store, close } = postgresStateStore(link.url, "test", { answerMs: 1_000 });
  try {
    expect(await store.listOwners()).toEqual([]);
    link.swallow(true);
    // Without the limit TCP gives up after a quarter of an hour.
    await expect(store.listOwners()).rejects.toThrow();
    link.swallow(false);
    expect(await store.listOwners()).toEqual([]);
  } finally {
    await close();
    link.close();
  }
});

// Fails when a connection is kept that reached a demoted primary: it answers, and refuses every write for as long as it lives.
test("after a failover the next statement goes to the new primary, although the old one still answers", async () => {
  const url = await freshDatabase();
  await setStandby(url, true);
  const { store, close } = postgresStateStore(url, "test");
  try {
    await expect(store.takeLock("reconciler", newIncarnation("w"), 1_000)).rejects.toThrow("read-only");
    await setStandby(url, false);
    expect(await store.takeLock("reconciler", newIncarnation("w"), 1_000)).toBe(true);
  } finally {
    await close();
  }
});

// Fails when each refused write replaces the connections: a database whose disk is full refuses all of them, for hours.
test("connections to a server that stays read-only are replaced at intervals, until it accepts writes again", async () => {
  const url = await freshDatabase();
  await setStandby(url, true);
  const link = await linkTo(url);
  const write = ({ store }: typeof patient) => store.takeLock("reconciler", newIncarnation("w"), 1_000);
  const patient = postgresStateStore(link.url, "test", { standbyPauseMs: 3_600_000 });
  const product = postgresStateStore(url, "test");
  try {
    for (let i = 0; i < 20; i++) await expect(write(patient)).rejects.toThrow("read-only");
    expect(link.connections()).toBe(2);
    for (let i = 0; i < 3; i++) await expect(write(product)).rejects.toThrow("read-only");
    await setStandby(url, false);
    await expect.poll(() => write(product).catch(() => false)).toBe(true);
  } finally {
    await patient.close();
    await product.close();
    link.close();
  }
});

// Fails when the connections take turns: then none of them is ever idle.
test("statements at the same time have a connection each, and connections that are no longer needed are closed", async () => {
  const url = await freshDatabase();
  const kept = postgresStateStore(url, "kept");
  const closing = postgresStateStore(url, "closing", { idleMs: 0 });
  const askAtOnce = ({ store }: typeof kept) =>
    Promise.all(Array.from({ length: 20 }, () => store.listOwners()));
  try {
    await askAtOnce(kept);
    expect(await countConnections(url, "kept")).toBe(6);
    await askAtOnce(closing);
    await closing.store.listOwners();
    await expect.poll(() => countConnections(url, "closing")).toBe(1);
    expect(await askAtOnce(closing)).toHaveLength(20);
  } finally {
    await kept.close();
    await closing.close();
  }
});

// Fails when the statements beyond the last connection go behind the oldest one under way: a beat behind the retention of a large table.
test("a statement that finds no free connection goes behind the one that began last", async () => {
  const [sqls, ends] = [[postgres(unused), postgres(unused)], Promise.withResolvers<void>()];
  const spread = new SpreadStatements(() => sqls.shift() ?? postgres(unused), { max: 2, idleMs: 1_000 });
  const used: Sql[] = [];
  const statement = (sql: Sql): Promise<void> => {
    used.push(sql);
    return ends.promise;
  };
  const all = [spread.execute(statement), spread.execute(statement), spread.execute(statement)];
  ends.resolve();
  await Promise.all(all);
  const [oldest, last, third] = used;
  expect(last).not.toBe(oldest);
  expect(third).toBe(last);
});

async function countConnections(url: string, name: string): Promise<unknown> {
  const sql = postgres(url, { max: 1 });
  try {
    const [row] =
      await sql`select count(*)::int as open from pg_stat_activity where application_name = ${name}`;
    return row?.open;
  } finally {
    await sql.end();
  }
}
