import { z } from "zod";
import { decoded } from "../../shared/contracts/definition/tool-secrets.ts";
import { givenVariables } from "../../shared/given-variables.ts";
import { redact } from "../../shared/security/redact.ts";

/** The folder of this program, as it stands in stacks. */
const ROOT = new URL("../../", import.meta.url);
const MAX_CAUSES = 10;
const MAX_LOGGED_CHARS = 8_192;
const MIN_SECRET_CHARS = 8;

const WithCode = z.object({ code: z.string() });

/**
 * Where a failure happened, for its dead letter: the class and code of the error and of each cause, and their frames in
 * this program. A tenant may read it, so it has no texts of providers, addresses, or paths of the machine.
 */
export function traceOf(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  return chainOf(error)
    .map((each) => [titleOf(each), ...framesOf(each)].join("\n"))
    .join("\ncaused by ");
}

/**
 * All that is known of a failure, for the log of its worker: the stacks of the error and its causes with their texts.
 * @param env secrets in these variables are replaced: a provider may quote the API key that it refuses, a mail server the login
 */
export function operatorTrace(error: unknown, env: Record<string, string | undefined>): string {
  const texts =
    error instanceof Error ? chainOf(error).map((each) => each.stack ?? each.message) : [String(error)];
  const secrets = Object.entries(givenVariables(env)).flatMap(([name, value]) => secretsIn(name, value));
  return redact(texts.join("\ncaused by "), secrets, MIN_SECRET_CHARS).slice(0, MAX_LOGGED_CHARS);
}

/** The secrets of a variable: its value, or the passwords of the URLs in it, as they stand there and as servers get them. */
function secretsIn(name: string, value: string): string[] {
  if (/KEY|TOKEN|SECRET|PASSWORD/.test(name)) return [value];
  const passwords = [...value.matchAll(/:\/\/[^\s/@:]*:([^\s/@]+)@/g)].map(([, password = ""]) => password);
  return passwords.flatMap((password) => [password, decoded(password)]);
}

function chainOf(error: Error): Error[] {
  const chain: Error[] = [];
  for (let each: unknown = error; each instanceof Error && chain.length < MAX_CAUSES; each = each.cause) {
    chain.push(each);
  }
  return chain;
}

function titleOf(error: Error): string {
  const coded = WithCode.safeParse(error);
  return coded.success ? `${error.name} ${coded.data.code}` : error.name;
}

function framesOf({ stack = "", message }: Error): string[] {
  // A message of several lines stands at the beginning of the stack, and a line of it may look like a frame.
  const frames = stack.includes(message) ? stack.slice(stack.indexOf(message) + message.length) : stack;
  return frames.split("\n").flatMap((line) => {
    const at = /^ {4}at (?:(.+) \()?(?:file:\/\/)?(\/[^)]*?:\d+:\d+)\)?$/.exec(line);
    const path = at?.[2] ?? "";
    if (!path.startsWith(ROOT.pathname)) return [];
    const own = path.slice(ROOT.pathname.length);
    if (own.startsWith("node_modules/")) return [];
    return [at?.[1] === undefined ? `    at ${own}` : `    at ${at[1]} (${own})`];
  });
}
