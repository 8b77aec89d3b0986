/** The clients of a flood. How much they used is read from Postgres and not from their answers, because a killed process sends none. */
import type postgres from "postgres";
import { z } from "zod";
import { until } from "../../services/waiting.ts";
import type { OwnSystem } from "../own-system.ts";

const CLIENTS = 50;

const Key = z.object({ key: z.string() });

/** `file`: a body of bytes instead of JSON. `key`: by default the platform key. */
type Request = { body?: unknown; file?: Uint8Array<ArrayBuffer>; key?: string };

export class Clients {
  readonly system: OwnSystem;
  readonly sql: postgres.Sql;
  readonly isPatient: boolean;
  readonly #keys = new Map<string, string>();

  /** @param isPatient clients repeat what a killed process or an emptied Redis has refused */
  constructor(system: OwnSystem, sql: postgres.Sql, isPatient: boolean) {
    this.system = system;
    this.sql = sql;
    this.isPatient = isPatient;
  }

  async #request(method: string, path: string, { body, file, key }: Request): Promise<Response> {
    const { api_base, api_key } = this.system.facts;
    return fetch(`${api_base}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key ?? api_key}`,
        "content-type": file === undefined ? "application/json" : "application/octet-stream",
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(file !== undefined && { body: file }),
      signal: AbortSignal.timeout(60_000),
    });
  }

  /** Repeats a request until a running edge answers it with a status other than 503. */
  async ask(method: string, path: string, request: Request = {}): Promise<Response> {
    const answers: Response[] = [];
    await until(`${path} is answered`, async () => {
      const response = await this.#request(method, path, request).catch((error: unknown) => {
        if (!this.isPatient) throw error;
        return null;
      });
      if (response === null || (this.isPatient && response.status === 503)) return false;
      return answers.push(response) > 0;
    });
    const [answer] = answers;
    if (answer === undefined) throw new Error("no answer");
    return answer;
  }

  /** @throws Error for an answer that is no success */
  async must(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await this.ask(method, path, { body });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.status === 204 ? null : response.json();
  }

  async limit(tenant_id: string, limits: object): Promise<void> {
    await this.must("POST", "/scale/tenants", { tenant_id, ...limits });
  }

  async keyOf(tenant_id: string): Promise<string> {
    const known = this.#keys.get(tenant_id);
    if (known) return known;
    const scopes = ["runs:read", "runs:write"];
    const body = { tenant_id, name: "flood", scopes };
    const { key } = Key.parse(await this.must("POST", "/scale/api-keys", body));
    this.#keys.set(tenant_id, key);
    return key;
  }

  /** All clients at once. */
  async fifty<Answer>(client: (n: number) => Promise<Answer>): Promise<Answer[]> {
    return Promise.all(Array.from({ length: CLIENTS }, (_, n) => client(n)));
  }

  async start(tenant: string, orchestration: string, body: object = {}): Promise<Response> {
    const path = `/api/v2/orchestrations/${orchestration}/run`;
    return this.ask("POST", path, { body: { message: "hi", ...body }, key: await this.keyOf(tenant) });
  }

  async count(rows: postgres.PendingQuery<{ n: number }[]>): Promise<number> {
    return (await rows)[0]?.n ?? 0;
  }

  /** How many runs of the tenant have not ended. */
  async open(tenant: string): Promise<number> {
    const { sql } = this;
    return this.count(
      sql`select count(*)::int as n from runs where tenant_id = ${tenant} and ended_at is null`,
    );
  }

  async allEnded(tenant: string): Promise<void> {
    await until(`all runs of ${tenant} have ended`, async () => (await this.open(tenant)) === 0);
  }

  async cancelAll(tenant: string): Promise<void> {
    await this.must("POST", "/api/v2/orchestrations/runs:cancel", { all: true, tenant_id: tenant });
    await this.allEnded(tenant);
  }

  /** Waits until a time of the product has passed. */
  async passed(ms: number): Promise<void> {
    const sinceMs = performance.now();
    await until(`${ms} ms have passed`, () => performance.now() - sinceMs > ms);
  }

  /** Postgres' time in milliseconds. */
  async now(): Promise<number> {
    return this.count(this.sql`select floor(extract(epoch from clock_timestamp()) * 1000)::float8 as n`);
  }
}
