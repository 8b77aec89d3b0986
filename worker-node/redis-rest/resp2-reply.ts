/**
 * Encodes Redis' replies as the bytes that a TCP client gets.
 *
 * The client library does not distinguish a status from a string, nor an absent array from an absent string. The command
 * determines which of them a reply is: this file has the commands with statuses and absent arrays.
 */
import { upper } from "./command-policy.ts";
import type { RestCommand } from "./command-policy.ts";

/** Commands whose string replies are statuses. Their other replies (integers, null) have their own types. */
const STATUS = new Set(
  (
    "SET MSET HMSET SETEX PSETEX LSET LTRIM RENAME TYPE RESTORE MIGRATE PFMERGE FLUSHALL FLUSHDB SWAPDB SAVE BGSAVE " +
    "BGREWRITEAOF XSETID JSON.SET JSON.MSET JSON.MERGE"
  ).split(" "),
);

/** Of these commands, the subcommands whose string replies are statuses. */
const STATUS_OF_SUBCOMMAND = new Map(
  Object.entries({
    CLIENT: "SETINFO SETNAME",
    FUNCTION: "DELETE FLUSH KILL RESTORE",
    MEMORY: "PURGE",
    SCRIPT: "FLUSH KILL",
    SLOWLOG: "RESET",
    XGROUP: "CREATE SETID",
  }).map(([name, subcommands]) => [name, new Set(subcommands.split(" "))] as const),
);

/** A script may reply a status or a string. `OK` is nearly always a status, another text nearly never. */
const SCRIPTS = new Set(["EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"]);

/** Commands that reply an absent array when they have no result. */
const ABSENT_ARRAY = new Set("XREAD XREADGROUP LMPOP ZMPOP".split(" "));

/** A reply or an error. `command`: null for one that could not be read. */
export function resp2Reply(reply: unknown, command: RestCommand | null): Buffer {
  if (reply === null || reply === undefined)
    return Buffer.from(command !== null && isArrayOrAbsent(command) ? "*-1\r\n" : "$-1\r\n");
  if (Buffer.isBuffer(reply) && command !== null && isStatus(reply, command))
    return Buffer.concat([Buffer.from("+"), reply, Buffer.from("\r\n")]);
  // GEOPOS replies an absent array for each member that does not exist.
  return encode(reply, command?.name === "GEOPOS" ? "*-1\r\n" : "$-1\r\n");
}

function isStatus(reply: Buffer, { name, args }: RestCommand): boolean {
  const words = args.map(upper);
  if (name === "PING") return args.length === 0;
  if (name === "SET") return !words.slice(2).includes("GET");
  if (SCRIPTS.has(name)) return reply.equals(OK);
  return STATUS.has(name) || (STATUS_OF_SUBCOMMAND.get(name)?.has(words[0] ?? "") ?? false);
}

function isArrayOrAbsent({ name, args }: RestCommand): boolean {
  if (name === "LPOP" || name === "RPOP") return args.length > 1;
  if (name === "ZRANK" || name === "ZREVRANK") return args.length > 2;
  return ABSENT_ARRAY.has(name);
}

function encode(reply: unknown, absent: string): Buffer {
  if (reply === null || reply === undefined) return Buffer.from(absent);
  if (Buffer.isBuffer(reply))
    return Buffer.concat([Buffer.from(`$${reply.length}\r\n`), reply, Buffer.from("\r\n")]);
  if (typeof reply === "string") return Buffer.from(`:${reply}\r\n`);
  if (Array.isArray(reply)) {
    const parts = reply.map((part: unknown) => encode(part, absent));
    return Buffer.concat([Buffer.from(`*${reply.length}\r\n`), ...parts]);
  }
  if (reply instanceof Error) return Buffer.from(`-${reply.message.replaceAll(/[\r\n]/g, " ")}\r\n`);
  throw new TypeError(`a reply of the unknown type ${typeof reply}`);
}

const OK = Buffer.from("OK");
