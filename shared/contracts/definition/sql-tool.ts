import { percentDecoded } from "../../http/percent-decoded.ts";
import { MASK } from "./tool-secrets.ts";
import type { JsonObject } from "../json.ts";

/** How the server's certificate is treated, as `sslmode` of libpq: `prefer` uses TLS where the server has it. */
const TLS = ["disable", "prefer", "require", "verify-full"] as const;

/** A connection of a tool of type `sql`. */
export type SqlConnection = {
  host: string;
  port: number;
  database: string;
  username: string;
  password: string;
  tls: (typeof TLS)[number];
};

/** The parts of a connection string, or what is wrong with it. The error quotes nothing of it: it holds a password. */
export function parseConnection(text: string): SqlConnection | { error: string } {
  const url = URL.parse(text);
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol)) {
    return { error: "must be postgres://user:password@host:port/database" };
  }
  const [host, database] = [url.hostname.replace(/^\[|\]$/g, ""), percentDecoded(url.pathname.slice(1))];
  const [username, password] = [percentDecoded(url.username), percentDecoded(url.password)];
  if (host === "" || !database || !username || password === null) {
    return { error: "must have a user, a host and a database: postgres://user:password@host:port/database" };
  }
  const unknown = [...url.searchParams.keys()].find((name) => name !== "sslmode");
  if (unknown !== undefined) return { error: "may have the parameter sslmode and no other" };
  const tls = TLS.find((mode) => mode === (url.searchParams.get("sslmode") ?? "prefer"));
  if (tls === undefined) return { error: `has an sslmode that is none of ${TLS.join(", ")}` };
  return { host, port: Number(url.port || 5432), database, username, password, tls };
}

/**
 * The URL of a request to the host and port of a connection, by which the egress guard judges it. A URL of http has its address in one
 * spelling, and a URL of postgres as it was written.
 */
export function guardedUrl({ host, port }: Pick<SqlConnection, "host" | "port">): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Why a tool cannot have this connection; null: it can. A mask stands for the stored one. */
export function connectionError(text: string): string | null {
  if (text === MASK) return null;
  const parsed = parseConnection(text);
  return "error" in parsed ? parsed.error : null;
}

/** The arguments of every tool of type `sql`. */
export const sqlArguments: JsonObject = {
  type: "object",
  properties: {
    sql: {
      type: "string",
      description: "One statement of PostgreSQL that only reads, with $1, $2 … for values",
    },
    params: { type: "array", items: {}, description: "The values of $1, $2 …" },
  },
  required: ["sql"],
  additionalProperties: false,
};
