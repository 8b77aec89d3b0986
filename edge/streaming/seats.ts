import { AppError } from "../../shared/errors.ts";

/** The viewers of one feed. They share one poll, but each of them has a stream and catches up. */
export const FEED_SEATS = { all: 100, tenant: 100, key: 50, stream: 50 };

/**
 * The seats of a relay. More viewers would not fit the memory and the time of one object; EVENT_SHARDS configures the
 * number of objects. A stream of n runs takes n seats.
 */
export const RUN_SEATS = { all: 2_000, tenant: 1_000, key: 750, stream: 500 };

const RETRY_AFTER_SECONDS = 10;

/** The error of a viewer for which there is no seat: a 429. */
export function noSeat(maxStreams: number | null): AppError {
  const state = { name: "streams", windowSeconds: null, left: 0, resetSeconds: RETRY_AFTER_SECONDS } as const;
  return new AppError(
    "too_many_streams",
    "This tenant or this key has too many open streams. Close some, or watch several runs in one stream.",
    {
      retryAfterSeconds: RETRY_AFTER_SECONDS,
      quota: [{ ...state, limit: maxStreams ?? RUN_SEATS.tenant }],
    },
  );
}

/** The tenant, key and stream for which a seat is counted. `stream`: the run that the viewer watches, or `feed`. */
export type Seat = { tenant: string; keyId: string; stream: string };

/** The most viewers: in all, of one tenant, of one key of a tenant, and of one stream by one key. */
export type SeatLimits = { all: number; tenant: number; key: number; stream: number };

/** What a viewer gets: a seat, no seat because of its own tenant's viewers, or no seat because all are taken. */
type SeatVerdict = "taken" | "refused" | "full";

/**
 * Counts the viewers of one object, so that no tenant, no key and no stream takes the seats of the others. Each level
 * may take a part of what the level above it may take: the rest stays free for others.
 */
export class Seats {
  readonly #limits: SeatLimits;
  readonly #tenants = new Map<string, number>();
  readonly #keys = new Map<string, number>();
  readonly #streams = new Map<string, number>();
  #taken = 0;

  constructor(limits: SeatLimits) {
    this.#limits = limits;
  }

  get taken(): number {
    return this.#taken;
  }

  /** @param ofTenant the most seats of this tenant, where it is less than for any tenant */
  take(seat: Seat, ofTenant = Infinity): SeatVerdict {
    const { all, tenant, key, stream } = this.#limits;
    const used = <Name>(counts: Map<Name, number>, name: Name) => counts.get(name) ?? 0;
    if (used(this.#tenants, seat.tenant) >= Math.min(tenant, ofTenant)) return "refused";
    if (used(this.#keys, keyOf(seat)) >= key || used(this.#streams, streamOf(seat)) >= stream)
      return "refused";
    if (this.#taken >= all) return "full";
    this.#count(seat, 1);
    return "taken";
  }

  release(seat: Seat): void {
    this.#count(seat, -1);
  }

  /**
   * The tenant with the most seats, if it has at least two more than `newcomer`: when all seats are taken, it gives one
   * up. Null: the seats are shared evenly already.
   */
  tenantToYield(newcomer: string): string | null {
    let most: string | null = null;
    let seats = (this.#tenants.get(newcomer) ?? 0) + 1;
    for (const [tenant, count] of this.#tenants) if (count > seats) [most, seats] = [tenant, count];
    return most;
  }

  #count(seat: Seat, by: 1 | -1): void {
    this.#taken += by;
    add(this.#tenants, seat.tenant, by);
    add(this.#keys, keyOf(seat), by);
    add(this.#streams, streamOf(seat), by);
  }
}

const keyOf = ({ tenant, keyId }: Seat) => `${tenant} ${keyId}`;
const streamOf = (seat: Seat) => `${keyOf(seat)} ${seat.stream}`;

function add<Name>(counts: Map<Name, number>, name: Name, by: number): void {
  const count = (counts.get(name) ?? 0) + by;
  if (count === 0) counts.delete(name);
  else counts.set(name, count);
}
