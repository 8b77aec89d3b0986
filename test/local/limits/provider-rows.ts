/** Limits of a provider of models, which all workers share, in calls that its stand-in has received. */
import { until } from "../../services/waiting.ts";
import type { Clients } from "./clients.ts";
import { beyondRate } from "./lane-rows.ts";
import type { LimitRow } from "./limit-row.ts";
import type { Peer, Requests } from "./peer.ts";

const CONCURRENT = 4;
/** A minute's limit holds a tenth of the minute: 12 calls at once, then 2 in a second. Without it all fifty begin in a few seconds. */
const PER_MINUTE = 120;
const BURST = PER_MINUTE / 10;
/** The estimate of a call counts four characters as a token. The answer is one character. */
const TOKENS_OF_CALL = 1_000;
const MESSAGE = "word ".repeat((TOKENS_OF_CALL * 4) / 5);
/** A change of a limit acts after this time. */
const ACTS_MS = 5_000;

export function providerRows(clients: Clients, peer: Peer): LimitRow[] {
  const rate = { most: BURST, least: Number.NEGATIVE_INFINITY };
  const row = (
    name: string,
    // The model has the name of the orchestration.
    orchestration: string,
    limit: object,
    used: (tenant: string, calls: Requests, sinceMs: number) => Promise<number>,
    bounds: { most: number; least: number },
  ): LimitRow => ({
    name,
    ...bounds,
    async prepare(tenant) {
      await clients.limit(tenant, {});
      await clients.must("PUT", "/scale/provider-limits", {
        model: `openai-compatible/${orchestration}`,
        ...limit,
      });
      await clients.passed(ACTS_MS);
    },
    async flood(tenant) {
      const sinceMs = performance.now();
      peer.forgetMost(orchestration);
      await clients.fifty(() => clients.start(tenant, orchestration, { message: MESSAGE }));
      return used(tenant, peer.requestsOf(orchestration), sinceMs);
    },
    settle: (tenant) => clients.allEnded(tenant),
  });
  const atOnce = async (tenant: string, calls: Requests): Promise<number> => {
    await clients.allEnded(tenant);
    return calls.most;
  };
  /** The runs whose calls have not begun are cancelled when some calls have waited: all fifty would take half a minute. */
  const begun = async (tenant: string, calls: Requests, sinceMs: number): Promise<number> => {
    const arrivals = () => calls.arrivalsMs.filter((atMs) => atMs >= sinceMs);
    await until("calls beyond the first ones begin", () => arrivals().length > BURST + 4);
    await clients.cancelAll(tenant);
    return beyondRate(arrivals(), sinceMs, PER_MINUTE / 60);
  };

  return [
    row("max_concurrent of a provider's model", "orch_at_once", { max_concurrent: CONCURRENT }, atOnce, {
      most: CONCURRENT,
      least: CONCURRENT,
    }),
    row(
      "requests_per_minute of a provider's model",
      "orch_requests",
      { requests_per_minute: PER_MINUTE },
      begun,
      rate,
    ),
    row(
      "tokens_per_minute of a provider's model",
      "orch_tokens",
      { tokens_per_minute: PER_MINUTE * TOKENS_OF_CALL },
      begun,
      rate,
    ),
  ];
}
