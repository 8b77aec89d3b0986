import { z } from "zod";
import { withinOrNull } from "../tasks/within-or-null.ts";
import { sqlState } from "./unreachable.ts";

/**
 * Why a store does not serve, as `/health` says it to everyone: nothing of an error's text, which may name hosts, roles and databases.
 *
 * - `no_answer`: it did not answer in time. `unreachable`: there is no connection.
 * - `refused`: it does not accept the login, or the login lacks a right, or the database or bucket does not exist.
 * - `not_migrated`: the database lacks a table or a column. Workers migrate it when they start.
 * - `failed`: the database answered with another error.
 */
export const StoreCause = z.enum(["no_answer", "unreachable", "refused", "not_migrated", "failed"]);
export type StoreCause = z.infer<typeof StoreCause>;

const NOT_MIGRATED = /^42(P01|703|883)$/;
const REFUSED_STATE = /^(28[0-9A-Z]{3}|42501|3D000)$/;
const REFUSED_REPLY = /\b(WRONGPASS|NOAUTH|NOPERM|Unauthorized)\b/;
const REFUSED_NAME =
  /^(40[134]|AccessDenied|Forbidden|NotFound|InvalidAccessKeyId|SignatureDoesNotMatch|NoSuchBucket|CredentialsProviderError)$/;
/** An SQLSTATE with which Postgres did not end the connection. Each has a digit, and a code of the system, such as EPIPE, has none. */
const ANSWERED_STATE = /^(?!08|53|57P|58)(?=.*\d)[0-9A-Z]{5}$/;

/** Why a store does not serve a check; null: it does. A store that takes longer than `ms` counts as one without an answer. */
export async function storeFaultOf(check: () => Promise<unknown>, ms: number): Promise<StoreCause | null> {
  const checked = check().then(() => "serves" as const, storeCauseOf);
  const answer = (await withinOrNull(checked, ms)) ?? "no_answer";
  return answer === "serves" ? null : answer;
}

/** The cause in an error of a store's client: what the error says, or an error that has caused it. */
function storeCauseOf(error: unknown): Exclude<StoreCause, "no_answer"> {
  const chain = chainOf(error);
  const states = chain.map((one) => sqlState(one) ?? "");
  if (states.some((state) => NOT_MIGRATED.test(state))) return "not_migrated";
  if (states.some((state) => REFUSED_STATE.test(state)) || chain.some(isRefusal)) return "refused";
  return states.some((state) => ANSWERED_STATE.test(state)) ? "failed" : "unreachable";
}

function isRefusal({ name, message }: Error): boolean {
  return REFUSED_NAME.test(name) || REFUSED_REPLY.test(message);
}

function chainOf(error: unknown): Error[] {
  return error instanceof Error ? [error, ...chainOf(error.cause)] : [];
}
