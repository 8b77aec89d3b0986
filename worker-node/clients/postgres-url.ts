/** Reads where Postgres is, for every process of Node that connects to it. */
import { z } from "zod";
import { messageOf } from "../../shared/log.ts";
import { percentDecoded } from "../../shared/http/percent-decoded.ts";
import { postgresTlsOf } from "./postgres-tls.ts";

const EXAMPLE = "postgres://user:password@host:5432/database";

const RULE = `must be a URL like ${EXAMPLE}, with : / ? # @ and % in user and password as %3A %2F %3F %23 %40 and %25`;

/** Parameters of libpq that the driver does not read, so that it would connect to another server or as another user. */
const LEADING = ["host", "hostaddr", "port", "user", "password", "dbname"];

/** The schema of the variable `name`, a URL of Postgres. Its errors quote nothing of the URL, which holds a password. */
export const postgresUrl = (name: string) =>
  z.string(`${name} is not set: write ${EXAMPLE}`).check(({ value, issues }) => {
    const fault = faultOf(value);
    if (fault !== null) issues.push({ code: "custom", input: value, message: `${name} ${fault}` });
  });

function faultOf(text: string): string | null {
  const url = URL.parse(text);
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol) || url.hash !== "") return RULE;
  if (percentDecoded(url.username) === null || percentDecoded(url.password) === null) return RULE;
  const misplaced = LEADING.find((parameter) => url.searchParams.has(parameter));
  if (misplaced !== undefined) return `has the parameter ${misplaced}: write it before the '?'`;
  if (url.searchParams.has("ssl"))
    return "has the parameter ssl: write sslmode=require or sslmode=verify-full";
  try {
    postgresTlsOf(url);
    return null;
  } catch (error) {
    return `cannot be used: ${messageOf(error)}`;
  }
}

/**
 * The URL in the first of these variables that is set.
 * @throws Error with one sentence that says what to write
 */
export function readPostgresUrl(
  env: Record<string, string>,
  names: readonly [string, ...string[]] = ["SCALE_POSTGRES_URL"],
): string {
  const name = names.find((each) => env[each] !== undefined) ?? "SCALE_POSTGRES_URL";
  const parsed = postgresUrl(name).safeParse(env[name]);
  if (!parsed.success) throw new Error(parsed.error.issues.map(({ message }) => message).join("\n"));
  return parsed.data;
}
