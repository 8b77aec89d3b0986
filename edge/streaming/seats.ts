import { AppError } from "../../shared/errors.ts";

/** The seats of a feed. All its viewers share one poll, but each has a stream of its own and may catch up. */
export const FEED_SEATS = { all: 100, tenant: 100, key: 50, stream: 50 };

/**
 * The seats of a relay. One object has not the memory and processor time for more viewers; EVENT_SHARDS configures the number of
 * objects. A stream of n runs takes n seats.
 */
export const RUN_SEATS = { all: 2_000, tenant: 1_000, key: 750, stream: 500 };

const RETRY_AFTER_SECONDS = 10;

/** The 429 for a viewer for which there is no seat. @param maxStreams the tenant's limit of open streams; null: not known */
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

/** `taken`: the viewer has a seat. `refused`: its tenant, key or stream has its part of the seats. `full`: all seats are taken. */
type SeatVerdict = "taken" | "refused" | "full";

/**
 * Counts the viewers of one object, so that no tenant, no key and no stream takes the seats of others. Each level may have a part of
 * the seats that the level above may have: a stream of a key's, a key of its tenant's, a tenant of all.
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

  /** Takes a seat if there is one. @param ofTenant the tenant's own limit, which may be less than the part of any tenant */
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
   * The tenant that gives up a seat for the tenant `newcomer` when all are taken: the one with the most seats, if it has at least two
   * more. Null: the seats are shared evenly already.
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
