import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { openPostgresRoute } from "../../local/edge/postgres-route.ts";
import type { OwnService } from "../../local/processes/child.ts";
import { startPostgres } from "../../local/stores/postgres.ts";
import { freshDatabase } from "../services/services.ts";

const certificates = join(import.meta.dirname, "fixtures/tls");
const authority = `sslrootcert=${join(certificates, "authority.pem")}`;
const dir = mkdtempSync(join(tmpdir(), "synapse-tls-"));
let server: OwnService;

/** A Postgres with TLS, whose certificate is for `localhost`, from an authority that no machine trusts. */
beforeAll(async () => {
  chmodSync(dir, 0o711); // under root another user runs Postgres, and must be able to enter this folder
  server = await startPostgres({ dir, port: 0 });
  const sql = postgres(server.url, { max: 1 });
  const [at] = await sql<{ folder: string }[]>`select current_setting('data_directory') as folder`;
  const folder = at?.folder ?? "";
  const { uid, gid } = statSync(folder);
  for (const name of ["server.crt", "server.key"]) {
    copyFileSync(join(certificates, name), join(folder, name));
    chownSync(join(folder, name), uid, gid);
    chmodSync(join(folder, name), 0o600);
  }
  await sql`alter system set ssl = on`;
  await sql`select pg_reload_conf()`;
  await sql.end();
});
afterAll(async () => {
  await server.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** Whether the server sees TLS on a connection that takes the route of this URL. */
async function isEncrypted(url: string): Promise<boolean> {
  const target = new URL(url);
  const route = await openPostgresRoute(target);
  onTestFinished(() => route.close());
  const sql = postgres(`postgres://postgres:synapse@${route.address}${target.pathname}`, { max: 1 });
  onTestFinished(() => sql.end());
  const [row] = await sql<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
  return row?.ssl ?? false;
}

function urlWith(host: string, parameters: string): string {
  return `postgres://postgres:synapse@${host}:${server.port}/synapse?${parameters}`;
}

describe("the edge's way to Postgres", () => {
  test.for([
    ["localhost", "sslmode=require"],
    ["localhost", "sslmode=prefer"],
    ["127.0.0.1", `sslmode=verify-ca&${authority}`],
    ["localhost", `sslmode=verify-full&${authority}`],
  ] as const)("is encrypted: %s with %s", async ([host, parameters]) => {
    expect(await isEncrypted(urlWith(host, parameters))).toBe(true);
  });

  test.for([
    ["127.0.0.1", `sslmode=verify-full&${authority}`, "does not match certificate's altnames"],
    ["localhost", "sslmode=verify-full", "unable to verify"],
    ["localhost", "sslmode=verify-ca", "unable to verify"],
  ] as const)("refuses a certificate: %s with %s", async ([host, parameters, reason]) => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => logged.mockRestore());
    await expect(isEncrypted(urlWith(host, parameters))).rejects.toThrow(reason);
    expect(String(logged.mock.calls[0])).toContain(reason);
  });

  test("to a server without TLS is plain with sslmode=prefer, and refused with sslmode=require", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => logged.mockRestore());
    const plain = await freshDatabase();
    expect(await isEncrypted(`${plain}?sslmode=prefer`)).toBe(false);
    await expect(isEncrypted(`${plain}?sslmode=require`)).rejects.toThrow("the server has no TLS");
  });

  test("without sslmode is the server itself when the URL has its address", async () => {
    const route = await openPostgresRoute(new URL("postgres://user:password@192.0.2.7/orders"));
    expect(route.address).toBe("192.0.2.7:5432");
  });

  // workerd would resolve the name once, and then look for a database that has moved at its old address for ever.
  test("without sslmode resolves a server's name anew for each connection, and is plain", async () => {
    const target = new URL(await freshDatabase());
    target.hostname = "localhost";
    const route = await openPostgresRoute(target);
    onTestFinished(() => route.close());
    expect(route.address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(route.address).not.toBe(`127.0.0.1:${target.port}`);
    expect(await isEncrypted(target.href)).toBe(false);
  });

  test("with a misspelled sslmode is an error that lists the right ones", async () => {
    const url = new URL("postgres://user:password@db.example.com/orders?sslmode=required");
    await expect(openPostgresRoute(url)).rejects.toThrow(
      'sslmode must be one of disable, prefer, require, verify-ca, verify-full, not "required"',
    );
  });
});
