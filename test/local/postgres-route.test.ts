import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { openPostgresRoute } from "../../local/edge/postgres-route.ts";
import type { OwnService } from "../../local/processes/child.ts";
import { connectPostgres } from "../../worker-node/clients/connect-postgres.ts";
import { postgresUrl } from "../../worker-node/clients/postgres-url.ts";
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
  const [row] = await sql<{ folder: string }[]>`select current_setting('data_directory') as folder`;
  const folder = row?.folder ?? "";
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

/** Whether the server sees TLS on a worker's connection by this URL. */
async function isEncryptedForWorkers(url: string): Promise<boolean> {
  const sql = connectPostgres(url, { max: 1 });
  onTestFinished(() => sql.end());
  const [row] = await sql<{ ssl: boolean }[]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
  return row?.ssl ?? false;
}

// Fails when the driver reads the URL: it knows no `sslrootcert`, and compares the certificate of an IP address with `localhost`.
describe("a worker's way to Postgres, by the same URL", () => {
  test.for([
    ["localhost", "sslmode=require", true],
    ["localhost", "sslmode=prefer", true],
    ["localhost", "sslmode=disable", false],
    ["localhost", "application_name=w", false],
    ["127.0.0.1", `sslmode=verify-ca&${authority}`, true],
    ["127.0.0.1", `sslmode=require&${authority}`, true],
    ["localhost", `sslmode=verify-full&${authority}`, true],
    ["localhost", authority, true],
  ] as const)("is as encrypted as the edge's: %s with %s", async ([host, parameters, encrypted]) => {
    const url = urlWith(host, parameters);
    expect(postgresUrl("SCALE_POSTGRES_URL").safeParse(url).success).toBe(true);
    expect([await isEncryptedForWorkers(url), await isEncrypted(url)]).toEqual([encrypted, encrypted]);
  });

  test.for([
    ["127.0.0.1", `sslmode=verify-full&${authority}`, "does not match certificate's altnames"],
    ["127.0.0.1", authority, "does not match certificate's altnames"],
    ["localhost", "sslmode=verify-full&sslrootcert=system", "unable to verify"],
    ["localhost", "sslmode=require&sslrootcert=system", "unable to verify"],
  ] as const)("refuses a certificate, as the edge does: %s with %s", async ([host, parameters, reason]) => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => void vi.restoreAllMocks());
    await expect(isEncryptedForWorkers(urlWith(host, parameters))).rejects.toThrow(reason);
    await expect(isEncrypted(urlWith(host, parameters))).rejects.toThrow(reason);
  });

  test("is refused at the start with what would be right, when the URL cannot say how", () => {
    const faultOf = (parameters: string) =>
      postgresUrl("SCALE_POSTGRES_URL").safeParse(urlWith("localhost", parameters)).error?.issues[0]?.message;
    expect(faultOf("sslmode=required")).toMatch(
      /^SCALE_POSTGRES_URL cannot be used: sslmode must be one of disable, /,
    );
    expect(faultOf("sslrootcert=/no/such.pem")).toMatch(
      /^SCALE_POSTGRES_URL cannot be used: sslrootcert cannot be read/,
    );
    expect(faultOf("ssl=true")).toContain("write sslmode=require or sslmode=verify-full");
  });
});
