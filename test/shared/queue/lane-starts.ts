/** The starts of lanes with a rate, as the model counts them: a token bucket for each lane. A new queue has no buckets. */
import { burstOf } from "../../../shared/contracts/lane-settings.ts";
import type { Lane } from "../../../shared/contracts/run.ts";
import type { Room } from "../../../shared/queue/claim.ts";

type Bucket = { tokens: number; atMs: number; askedMs: number };

/** In billionths of a start, as the script counts. */
const START = 1e9;

export class LaneStarts {
  readonly buckets = new Map<Lane, Bucket>();
  /** Lanes for whose next start a worker is to claim again, by the reply to its last claim. */
  readonly arranged = new Set<Lane>();

  /** What a claim at `nowMs` by a worker with these rules may start. */
  claim(nowMs: number, rules: NonNullable<Room["rules"]>) {
    this.arranged.clear();
    const rateOf = (lane: Lane): number | null => rules[lane]?.starts_per_second ?? null;
    const refilled = (lane: Lane, rate: number): number => {
      const bucket = this.buckets.get(lane) ?? { tokens: 0, atMs: nowMs, askedMs: 0 };
      this.buckets.set(lane, bucket);
      const grown = bucket.tokens + (nowMs - bucket.atMs) * rate * 1e6;
      return Math.min(Math.floor(burstOf(rate) * 1e9), grown);
    };
    const mayStart = (lane: Lane): boolean => {
      const rate = rateOf(lane);
      return rate === null || refilled(lane, rate) >= START;
    };
    return {
      mayStart,
      take: (lane: Lane): void => {
        const rate = rateOf(lane);
        if (rate === null) return;
        const tokens = refilled(lane, rate) - START;
        this.buckets.set(lane, { tokens, atMs: nowMs, askedMs: this.buckets.get(lane)?.askedMs ?? 0 });
      },
      /** The time until this worker is to claim again for a lane with ready jobs; Infinity: it need not. */
      comeBack: (lane: Lane, hasRoom: boolean): number => {
        const rate = rateOf(lane);
        if (rate === null || mayStart(lane)) return Infinity;
        const tokens = refilled(lane, rate);
        const waitMs = Math.max(20, Math.ceil((START - tokens) / (rate * 1e6)));
        const askedMs = this.buckets.get(lane)?.askedMs ?? 0;
        const isOtherExpected = askedMs > nowMs && askedMs <= nowMs + waitMs;
        if (isOtherExpected || hasRoom) this.arranged.add(lane);
        if (isOtherExpected || !hasRoom) return Infinity;
        this.buckets.set(lane, { tokens, atMs: nowMs, askedMs: nowMs + waitMs });
        return waitMs;
      },
    };
  }
}
