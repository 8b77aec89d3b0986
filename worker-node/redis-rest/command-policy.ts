/** Which commands are sent to Redis, and why the others are refused. */
import { RestError } from "./rest-error.ts";

/** `name` is in upper case: ioredis rewrites arguments and replies of commands in lower case only. */
export interface RestCommand {
  name: string;
  args: (string | Buffer)[];
}

const blocks = "it would block the connection that all requests share";
const ownsConnection = "it changes the state of the connection that all requests share";
const endless = "its replies do not end; POST /subscribe or /psubscribe with Accept: text/event-stream";
const unsupported = "it is not supported here; use redis-cli";
const transaction = "POST the whole transaction to /multi-exec";
const operatorOnly = "it is for the operator of this Redis, not for its users";

/** The reason of the refusal, by the command's name. */
const refusalReasons = new Map<string, string>(
  [
    [blocks, "BLPOP BRPOP BRPOPLPUSH BLMOVE BLMPOP BZPOPMIN BZPOPMAX BZMPOP WAIT WAITAOF"],
    [ownsConnection, "AUTH HELLO SELECT RESET QUIT READONLY READWRITE ASKING"],
    [endless, "SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE"],
    [transaction, "MULTI EXEC DISCARD WATCH UNWATCH"],
    [unsupported, "MONITOR"],
    [operatorOnly, "ACL CONFIG DEBUG FAILOVER MODULE PSYNC REPLCONF REPLICAOF SHUTDOWN SLAVEOF SYNC"],
  ].flatMap(([reason = "", names = ""]) => names.split(" ").map((name) => [name, reason] as const)),
);

/** The subcommands of CLIENT that are allowed: they only read, or set a name that no other caller sees. */
const HARMLESS_CLIENT_SUBCOMMANDS = new Set(["SETINFO", "ID", "GETNAME", "INFO", "LIST", "HELP"]);

/** @throws RestError 400 for a refused command, with its name and the reason */
export function checkCommand({ name, args }: RestCommand): void {
  const reason = refusalReasons.get(name) ?? reasonInArgs(name, args);
  if (reason !== undefined)
    throw new RestError(400, `ERR Command is not available: '${name}'. Reason: ${reason}`);
}

function reasonInArgs(name: string, args: RestCommand["args"]): string | undefined {
  if (name === "XREAD" || name === "XREADGROUP") return hasBlockOption(args) ? blocks : undefined;
  if (name === "SCRIPT") return upper(args[0]) === "DEBUG" ? ownsConnection : undefined;
  if (name === "CLIENT") return HARMLESS_CLIENT_SUBCOMMANDS.has(upper(args[0])) ? undefined : ownsConnection;
  return undefined;
}

/** BLOCK is an option only before STREAMS. A key, a group or a consumer may be called "block" or "streams". */
function hasBlockOption(args: RestCommand["args"]): boolean {
  for (let i = 0; i < args.length; i++) {
    const word = upper(args[i]);
    if (word === "STREAMS") return false;
    if (word === "BLOCK") return true;
    if (word === "GROUP") i += 2; // the names of the group and of the consumer
  }
  return false;
}

/** An argument in upper case; empty: there is none. */
export const upper = (arg: string | Buffer | undefined) => arg?.toString().toUpperCase() ?? "";
