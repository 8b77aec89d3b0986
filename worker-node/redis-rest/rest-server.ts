/**
 * The HTTP server of the REST front, which serves Upstash's Redis REST protocol for any Redis.
 *
 *   POST /              ["SET","k","v"]             one command
 *   POST /pipeline      [[…],[…]]                   many, each on its own
 *   POST /multi-exec    [[…],[…]]                   many, as one transaction
 *   any  /set/k/v?EX=1                              one command in the path, a body is its last argument
 *   any  /subscribe/<channel> /psubscribe/<pattern> server-sent events
 *
 * Source: https://upstash.com/docs/redis/features/restapi, and what @upstash/redis sends.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Cluster, Redis } from "ioredis";
import { readBody } from "./read-body.ts";
import { jsonError, jsonResult, type Encoding } from "./reply-encoding.ts";
import { resp2Reply } from "./resp2-reply.ts";
import {
  executeCommand,
  executePipeline,
  executeTransaction,
  type CommandCheck,
} from "./command-executor.ts";
import { commandFromBody, commandFromPath, pathSegments, rowsFromBody } from "./command-parser.ts";
import { checkCommand } from "./command-policy.ts";
import { crossOrigin } from "./cross-origin.ts";
import { RestError, toRestError } from "./rest-error.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { Subscriptions } from "./subscriptions.ts";
import { noPermission, ReadOnlyPolicy } from "./read-only.ts";
import { createTokenCheck, presentedToken, type Access } from "./rest-token.ts";

/** What the server uses, and its limits. */
export interface RestServerDeps {
  /** Created with `stringNumbers`, see reply-encoding.ts. */
  redis: Redis | Cluster;
  subscriptions: Subscriptions;
  token: string;
  /** A second token, for callers that only read; see read-only.ts. */
  readOnlyToken?: string | undefined;
  /** See cross-origin.ts. */
  origins: readonly string[];
  maxBodyBytes: number;
}

const METHODS = ["GET", "HEAD", "POST", "PUT"];

/** Creates the server, which does not listen yet. The caller closes the connections of `deps`. */
export function createRestServer(deps: RestServerDeps): Server {
  const checkToken = createTokenCheck(deps.token, deps.readOnlyToken);
  const readOnly = new ReadOnlyPolicy(deps.redis);
  const nextSyncToken = syncTokens();
  // Longer than the idle timeout of proxies and of the Workers runtime: the client closes first, and no request meets a
  // closing connection.
  const server = createServer({ keepAliveTimeout: 65_000, requestTimeout: 30_000 });

  server.on("request", (req, res) => {
    if (crossOrigin(deps.origins, req, res)) return;
    const syncToken = nextSyncToken();
    respond(deps, { checkToken, readOnly }, { req, res, syncToken }).catch((error: unknown) => {
      if (res.headersSent || res.destroyed) {
        res.destroy(); // the caller has disconnected, or already has a part of the response
        return;
      }
      if (!(error instanceof RestError))
        log.error("redis_rest.request_failed", { message: messageOf(error) });
      const { status, message, headers } =
        error instanceof RestError ? error : new RestError(500, "ERR internal error");
      send(res, { status, type: "application/json", body: jsonError(message), syncToken, headers });
    });
  });
  return server;
}

async function respond(
  deps: RestServerDeps,
  { checkToken, readOnly }: { checkToken: ReturnType<typeof createTokenCheck>; readOnly: ReadOnlyPolicy },
  { req, res, syncToken }: { req: IncomingMessage; res: ServerResponse; syncToken: string },
): Promise<void> {
  const { method = "", url = "/", headers } = req;
  if (!METHODS.includes(method)) {
    const message = `ERR method ${method} is not allowed, use GET, HEAD, POST or PUT`;
    throw new RestError(405, message, { headers: { allow: METHODS.join(", ") } });
  }
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? null : new URLSearchParams(url.slice(mark + 1));
  const access = checkToken(presentedToken(headers.authorization, query));

  const body = method === "POST" || method === "PUT" ? await readBody(req, deps.maxBodyBytes) : null;
  refuseCompressed(req);
  const encoding = wantedEncoding(req);
  const json = encoding === "resp2" ? "plain" : encoding;

  const segments = pathSegments(path);
  const [first = ""] = segments;
  const route = segments.length === 1 ? first : "";

  if (route === "multi-exec") {
    const rows = rowsFromBody(body, "multi-exec");
    const replies = await executeTransaction(deps.redis, rows, await checkOf(access, readOnly, rows));
    return send(res, { status: 200, type: "application/json", body: jsonRows(replies, json), syncToken });
  }
  if (route === "pipeline") {
    const rows = rowsFromBody(body, "pipeline");
    const executed = await executePipeline(deps.redis, rows, await checkOf(access, readOnly, rows));
    if (encoding !== "resp2") {
      const text = jsonRows(
        executed.map(({ reply }) => reply),
        encoding,
      );
      return send(res, { status: 200, type: "application/json", body: text, syncToken });
    }
    const bytes = Buffer.concat(executed.map(({ reply, command }) => resp2Reply(reply, command)));
    return send(res, { status: 200, type: "application/octet-stream", body: bytes, syncToken });
  }
  const kind = first.toLowerCase();
  if ((kind === "subscribe" || kind === "psubscribe") && headers.accept?.includes("text/event-stream")) {
    if (access === "read") throw noPermission(kind);
    return deps.subscriptions.open(kind, segments.slice(1), res, { "upstash-sync-token": syncToken });
  }
  const command = segments.length === 0 ? commandFromBody(body) : commandFromPath(segments, body, query);
  const check = await checkOf(access, readOnly, [[command.name]]);
  if (encoding !== "resp2") {
    const text = jsonResult(await executeCommand(deps.redis, command, check), encoding);
    return send(res, { status: 200, type: "application/json", body: text, syncToken });
  }
  const reply = await executeCommand(deps.redis, command, check).catch(toRestError);
  const status = reply instanceof RestError ? reply.status : 200;
  send(res, { status, type: "application/octet-stream", body: resp2Reply(reply, command), syncToken });
}

/** A compressed body would be stored as it is. The body is read first: see `readBody`. @throws RestError 415 */
function refuseCompressed({ headers }: IncomingMessage): void {
  const coding = headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  if (coding === "identity" || coding === "") return;
  const message = "ERR a body with a Content-Encoding is not supported, send it uncompressed";
  throw new RestError(415, message, { headers: { "accept-encoding": "identity" } });
}

/** The check of these rows for the caller's token. */
async function checkOf(
  access: Access,
  readOnly: ReadOnlyPolicy,
  rows: readonly unknown[],
): Promise<CommandCheck> {
  if (access === "full") return checkCommand;
  const names = rows.map((row): unknown => (Array.isArray(row) ? row[0] : undefined));
  return readOnly.checkOf(names.flatMap((name) => (typeof name === "string" ? name.toUpperCase() : [])));
}

function wantedEncoding({ headers }: IncomingMessage): Encoding {
  const format = headers["upstash-response-format"] ?? "json";
  const base64 = headers["upstash-encoding"] === "base64";
  if (format === "json") return base64 ? "base64" : "plain";
  if (format !== "resp2") throw new RestError(400, "ERR Upstash-Response-Format is json or resp2");
  if (base64) throw new RestError(400, "ERR Upstash-Encoding: base64 cannot be combined with resp2");
  return "resp2";
}

const jsonRows = (replies: unknown[], encoding: "plain" | "base64") =>
  `[${replies.map((reply) => (reply instanceof Error ? jsonError(reply.message) : jsonResult(reply, encoding))).join(",")}]`;

/** Tokens that are unique for each response: clients send the last one back and expect it to change. */
function syncTokens(): () => string {
  const incarnation = Date.now().toString(36);
  let responses = 0;
  return () => `${incarnation}=${++responses}`;
}

function send(
  res: ServerResponse,
  {
    status,
    type,
    body,
    syncToken,
    headers = {},
  }: {
    status: number;
    type: string;
    body: string | Buffer;
    syncToken: string;
    headers?: RestError["headers"];
  },
): void {
  res.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "upstash-sync-token": syncToken,
    ...headers,
  });
  // Node itself omits the body for HEAD.
  res.end(body);
}
