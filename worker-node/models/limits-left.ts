import type { Left } from "../../shared/providers/provider-calls.ts";
import type { ModelRequest } from "../engine/ports.ts";
import { resetMs } from "./retry-hint.ts";

/** What is left of a provider's limits, as the headers of its response say. */
export type LimitsLeft = { requests: Left | undefined; tokens: Left | undefined };

/** A request to a provider. `onLeft` gets what is left of the provider's limits, if the provider says it. */
export type RemoteRequest = ModelRequest & { onLeft?(left: LimitsLeft): void };

/** The headers of OpenAI and of servers in its form, and those of Anthropic. `*` is `requests` or `tokens`. */
const NAMES = [
  ["x-ratelimit-remaining-*", "x-ratelimit-reset-*"],
  ["anthropic-ratelimit-*-remaining", "anthropic-ratelimit-*-reset"],
] as const;

/** Reads the headers of any response of a provider; a limit without a count or a time is left out. */
export function limitsLeftOf(headers: Headers, nowMs: number): LimitsLeft {
  return { requests: leftOf("requests", headers, nowMs), tokens: leftOf("tokens", headers, nowMs) };
}

function leftOf(of: "requests" | "tokens", headers: Headers, nowMs: number): Left | undefined {
  for (const [remaining, reset] of NAMES) {
    const count = headers.get(remaining.replace("*", of));
    const forMs = resetMs(headers.get(reset.replace("*", of)) ?? "", nowMs);
    if (count !== null && /^\d{1,15}$/.test(count) && forMs !== undefined)
      return { count: Number(count), forMs };
  }
  return undefined;
}
