import { upper } from "./command-policy.ts";
import type { RestCommand } from "./command-policy.ts";

/**
 * Takes Upstash's flag `allow-key-locking` out of a script's first line (`#!lua flags=no-writes,allow-key-locking`). Redis refuses flags
 * that it does not know. The flag only lets Upstash run scripts over other keys at the same time, and Redis runs one script at a time.
 *
 * Redis knows the script by the hash of what remains. EVALSHA with the hash of the original is a `NOSCRIPT`, after which clients send the script.
 * Source: https://upstash.com/docs/redis/features/key-locking. Every script of @upstash/ratelimit has the flag from 2.2.0 on.
 */
export function withoutKeyLocking(command: RestCommand): RestCommand {
  const { name, args } = command;
  const at = scriptPosition(name, args);
  const script = at === null ? undefined : args[at];
  if (at === null || typeof script !== "string") return command;
  return { name, args: args.with(at, withoutFlag(script)) };
}

/** Where a command has the text of a script; null: it has none. */
function scriptPosition(name: string, args: RestCommand["args"]): number | null {
  if (name === "EVAL" || name === "EVAL_RO") return 0;
  return name === "SCRIPT" && upper(args[0]) === "LOAD" ? 1 : null;
}

function withoutFlag(script: string): string {
  return script.replace(/^(#!lua.*?) flags=(\S+)/, (_, before: string, flags: string) => {
    const kept = flags.split(",").filter((flag) => flag !== "allow-key-locking");
    return kept.length === 0 ? before : `${before} flags=${kept.join(",")}`;
  });
}
