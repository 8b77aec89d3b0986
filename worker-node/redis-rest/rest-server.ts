/**
 * The REST front: an HTTP server that speaks Upstash's Redis REST protocol in front of any Redis.
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
import { jsonError, jsonResult, resp2Reply, type Encoding } from "./reply-encoding.ts";
import { execute, executePipeline, executeTransaction } from "./command-executor.ts";
import { commandFromBody, commandFromPath, pathSegments } from "./command-parser.ts";
import { RestError, toRestError } from "./rest-error.ts";
import type { Subscriptions } from "./subscriptions.ts";
import { presentedToken, tokenCheck } from "./rest-token.ts";

export interface RestFront {
  /** Runs commands; made with `stringNumbers`, see encoding.ts. */
  redis: Redis | Cluster;
  subscriptions: Subscriptions;
  token: string;
  maxBodyBytes: number;
  log: Log;
}

/** An event's name and its fields; never a key, a value or a token. */
export type Log = (event: string, fields?: Record<string, unknown>) => void;

const methods = new Set(["GET", "HEAD", "POST", "PUT"]);

/** A server that is ready to listen. It does not own the connections it is given. */
export function createRestServer(front: RestFront): Server {
  const checkToken = tokenCheck(front.token);
  const nextSyncToken = syncTokens();
  // Longer than a proxy's or the Workers runtime's idle time, so that it is they who close, never we in mid-request.
  const server = createServer({ keepAliveTimeout: 65_000, requestTimeout: 30_000 });

  server.on("request", (req, res) => {
    const syncToken = nextSyncToken();
    answer(front, checkToken, req, res, syncToken).catch((error: unknown) => {
      if (res.headersSent || res.destroyed) {
        res.destroy(); // the caller has gone, or has half an answer already
        return;
      }
      if (!(error instanceof RestError)) front.log("failed", { reason: String(error) });
      const { status, message } =
        error instanceof RestError ? error : new RestError(500, "ERR internal error");
      send(res, status, "application/json", jsonError(message), syncToken);
    });
  });
  return server;
}

async function answer(
  front: RestFront,
  checkToken: ReturnType<typeof tokenCheck>,
  req: IncomingMessage,
  res: ServerResponse,
  syncToken: string,
): Promise<void> {
  const { method = "", url = "/", headers } = req;
  if (!methods.has(method))
    throw new RestError(405, `ERR method ${method} is not allowed, use GET, HEAD, POST or PUT`);
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? null : new URLSearchParams(url.slice(mark + 1));
  checkToken(presentedToken(headers.authorization, query));

  const body = method === "POST" || method === "PUT" ? await readBody(req, front.maxBodyBytes) : null;
  const encoding = wantedEncoding(req);
  const json = encoding === "resp2" ? "plain" : encoding;

  if (path === "/multi-exec") {
    const replies = await executeTransaction(front.redis, body);
    return send(res, 200, "application/json", jsonRows(replies, json), syncToken);
  }
  if (path === "/pipeline") {
    const replies = await executePipeline(front.redis, body);
    if (encoding !== "resp2")
      return send(res, 200, "application/json", jsonRows(replies, encoding), syncToken);
    return send(res, 200, "application/octet-stream", Buffer.concat(replies.map(resp2Reply)), syncToken);
  }
  const segments = pathSegments(path);
  const [first = ""] = segments;
  const kind = first.toLowerCase();
  if ((kind === "subscribe" || kind === "psubscribe") && headers.accept?.includes("text/event-stream")) {
    return front.subscriptions.open(kind, segments.slice(1), res, { "upstash-sync-token": syncToken });
  }
  const command = segments.length === 0 ? commandFromBody(body) : commandFromPath(segments, body, query);
  if (encoding !== "resp2") {
    const text = jsonResult(await execute(front.redis, command), encoding);
    return send(res, 200, "application/json", text, syncToken);
  }
  const reply = await execute(front.redis, command).catch(toRestError);
  const status = reply instanceof RestError ? reply.status : 200;
  send(res, status, "application/octet-stream", resp2Reply(reply), syncToken);
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
  `[${replies.map((one) => (one instanceof Error ? jsonError(one.message) : jsonResult(one, encoding))).join(",")}]`;

/** A token that no other answer has carried: clients send back the last one and expect it to move. */
function syncTokens(): () => string {
  const life = Date.now().toString(36);
  let answers = 0;
  return () => `${life}=${++answers}`;
}

function send(
  res: ServerResponse,
  status: number,
  type: string,
  body: string | Buffer,
  syncToken: string,
): void {
  res.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "upstash-sync-token": syncToken,
  });
  // Node leaves the body away for HEAD by itself.
  res.end(body);
}
