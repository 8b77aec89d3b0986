import type { Context } from "hono";
import type { ApiEnv } from "./api.ts";
import { invalidFields } from "./problem.ts";

/** The preference to ignore fields that the API does not know (RFC 7240, 4.4). Without it they are refused. */
export const LENIENT = "handling=lenient";

/** The longest wait of `Prefer: wait=N`, in seconds. */
export const MAX_WAIT_SECONDS = 60;

/**
 * Whether the request's `Prefer` headers (RFC 7240) name this preference. Letter case does not matter, nor do quotation
 * marks, spaces and parameters. Of several values of one preference the first holds (RFC 7240, 2).
 * @param preference a name and a value, as in `LENIENT`
 */
export function prefers(c: Context<ApiEnv>, preference: string): boolean {
  const name = preference.split("=", 1)[0] ?? "";
  return preferencesOf(c).find((one) => one === name || one.startsWith(`${name}=`)) === preference;
}

/**
 * The seconds of `Prefer: wait=N` (RFC 7240, 4.3); null: the request does not wait.
 * @throws AppError `invalid` for a wait that is not a whole number of seconds from 0 to 60: the API changes no number silently
 */
export function waitSecondsOf(c: Context<ApiEnv>): number | null {
  const waits = preferencesOf(c).filter((preference) => /^wait(?![\w-])/.test(preference));
  const [first] = waits;
  if (first === undefined) return null;
  const seconds = /^wait=(\d{1,3})$/.exec(first)?.[1];
  if (waits.length === 1 && seconds !== undefined && Number(seconds) <= MAX_WAIT_SECONDS)
    return Number(seconds);
  const message = `must have one wait=N, and N a whole number of seconds from 0 to ${MAX_WAIT_SECONDS}`;
  throw invalidFields([{ path: "Prefer", message }]);
}

function preferencesOf(c: Context<ApiEnv>): string[] {
  const preferences = c.req.header("prefer");
  if (preferences === undefined) return [];
  return preferences.split(",").map((one) =>
    one
      .replace(/;.*/s, "")
      .trim()
      .replace(/^([^\s=]+)\s*=\s*(?:"([^"]*)"|(\S+))$/, "$1=$2$3")
      .toLowerCase(),
  );
}

/** Adds a preference that was honoured to the Preference-Applied header of the response, unless the header names it already. */
export function preferenceApplied(headers: Headers, preference: string): void {
  const named = headers.get("Preference-Applied")?.split(", ") ?? [];
  if (!named.includes(preference)) headers.append("Preference-Applied", preference);
}
