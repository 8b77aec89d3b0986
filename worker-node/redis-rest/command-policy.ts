/** Which commands go through, and why the others do not. */
import { RestError } from "./rest-error.ts";

/** The name in capitals, then the arguments. ioredis rewrites arguments and replies of names in lower case only. */
export interface RestCommand {
  name: string;
  args: (string | Buffer)[];
}

const blocks = "it would block the connection that all requests share";
const ownsConnection = "it changes the state of the connection that all requests share";
const streams = "its replies do not end; POST /subscribe or /psubscribe with Accept: text/event-stream";
const transaction = "POST the whole transaction to /multi-exec";
const stops = "it is for the operator of this Redis, not for its users";

/** A family of refused commands, and what its callers are told. */
const refused = new Map<string, string>(
  [
    [blocks, "BLPOP BRPOP BRPOPLPUSH BLMOVE BLMPOP BZPOPMIN BZPOPMAX BZMPOP WAIT WAITAOF"],
    [ownsConnection, "AUTH HELLO SELECT RESET QUIT READONLY READWRITE ASKING"],
    [streams, "SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE MONITOR"],
    [transaction, "MULTI EXEC DISCARD WATCH UNWATCH"],
    [stops, "ACL CONFIG DEBUG FAILOVER MODULE PSYNC REPLCONF REPLICAOF SHUTDOWN SLAVEOF SYNC"],
  ].flatMap(([reason = "", names = ""]) => names.split(" ").map((name) => [name, reason] as const)),
);

/** CLIENT is refused but for these, which only look, or name a caller that nobody else can see. */
const harmlessClient = new Set(["SETINFO", "ID", "GETNAME", "INFO", "LIST", "HELP"]);

/**
 * Let a command through or refuse it.
 *
 * @throws RestError 400 that names the command and the reason
 */
export function checkCommand({ name, args }: RestCommand): void {
  const reason = refused.get(name) ?? reasonInArguments(name, args);
  if (reason !== undefined)
    throw new RestError(400, `ERR Command is not available: '${name}'. Reason: ${reason}`);
}

function reasonInArguments(name: string, args: RestCommand["args"]): string | undefined {
  if (name === "XREAD" || name === "XREADGROUP") return blockOption(args) ? blocks : undefined;
  if (name === "SCRIPT") return upper(args[0]) === "DEBUG" ? ownsConnection : undefined;
  if (name === "CLIENT") return harmlessClient.has(upper(args[0])) ? undefined : ownsConnection;
  return undefined;
}

/** BLOCK is an option only before STREAMS: after it come keys, and a stream may be called "block". */
function blockOption(args: RestCommand["args"]): boolean {
  for (const arg of args) {
    const word = upper(arg);
    if (word === "STREAMS") return false;
    if (word === "BLOCK") return true;
  }
  return false;
}

const upper = (arg: string | Buffer | undefined) => arg?.toString().toUpperCase() ?? "";
