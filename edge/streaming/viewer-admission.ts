import { z } from "zod";
import { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { log, messageOf } from "../../shared/log.ts";
import { KEY_CHECK_MS } from "../../shared/timing.ts";
import { SSE_HEADERS } from "./sse-writer.ts";

/** The permission of a viewer: an API key, or a stream token that was created with it and is valid until `untilMs`. */
const Grant = z.object({ keyId: z.string(), untilMs: z.number().nullable() });
export type Grant = z.infer<typeof Grant>;

/** A viewer of the events of a run after number `after`. The edge sends it to the relay, which does not authorise. */
export const RunJoin = Grant.extend({ run: RunId, after: z.number().int(), tenant: z.string() });
export type RunJoin = z.infer<typeof RunJoin>;

/** A viewer of a feed: of a tenant, or of all tenants if `tenant` is null. `lastUs`: the id of its last event. */
export const FeedJoin = Grant.omit({ untilMs: true }).extend({
  tenant: TenantId.nullable(),
  lastUs: z.number().nullable(),
});
export type FeedJoin = z.infer<typeof FeedJoin>;

/** The viewers of one feed. They share one poll, but each of them has a stream and catches up. */
export const FEED_SEATS = { all: 100, tenant: 100, key: 50, stream: 50 };

/**
 * The seats of a relay. More viewers would not fit the memory and the time of one object; EVENT_SHARDS configures the
 * number of objects. A stream of n runs takes n seats.
 */
export const RUN_SEATS = { all: 2_000, tenant: 1_000, key: 750, stream: 500 };

const RETRY_AFTER_SECONDS = 10;

export function noSeat(): AppError {
  return new AppError(
    "too_many_streams",
    "This tenant or this key has too many open streams. Close some, or watch several runs in one stream.",
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}

/** A viewer that asks for a stream. `untilMs`: when its stream token expires; null: it has none. */
type Newcomer = { seat: Seat; untilMs: number | null; signal: AbortSignal };

/** The stream to a viewer, and what ends it. */
type OpenStream = { body: ReadableStream<Uint8Array>; close(): void };

/** Starts the stream of a viewer that has a seat. It ends with `signal`, and calls `onClosed` once, whatever ends it. */
type Start = (signal: AbortSignal, onClosed: () => void) => OpenStream;

/**
 * Decides which viewers an object of the edge serves, and for how long: a viewer needs a seat, and the key by which it
 * watches has to stay valid.
 */
export class ViewerAdmission {
  readonly #seats: Seats;
  readonly #keys: KeyWatch;
  /** For each tenant, the functions that end its streams, in the order in which the streams began. */
  readonly #ends = new Map<string, Set<() => void>>();

  constructor(limits: SeatLimits, readValidKeys: (keyIds: string[]) => Promise<Set<string>>) {
    this.#seats = new Seats(limits);
    this.#keys = new KeyWatch(readValidKeys);
  }

  get viewers(): number {
    return this.#seats.taken;
  }

  /**
   * The stream of a viewer for which there is a seat; else 429. `onClosed` is called after the seat is free again. The object
   * ends the stream by its `close`, because an AbortController for each viewer, joined with its request's, takes 2 KiB.
   */
  open({ seat, untilMs, signal }: Newcomer, start: Start, onClosed = () => {}): Response {
    if (!this.#takeSeat(seat)) return new Response(null, { status: 429 });
    // `stream` exists when this is called: by a tick, or when a newcomer gets this viewer's seat.
    const end = () => stream.close();
    const ofTenant = this.#ends.get(seat.tenant) ?? new Set();
    this.#ends.set(seat.tenant, ofTenant.add(end));
    const unwatch = this.#keys.add({ keyId: seat.keyId, untilMs }, end);
    const stream = start(signal, () => {
      unwatch();
      this.#seats.release(seat);
      ofTenant.delete(end);
      if (ofTenant.size === 0 && this.#ends.get(seat.tenant) === ofTenant) this.#ends.delete(seat.tenant);
      onClosed();
    });
    return new Response(stream.body, { headers: SSE_HEADERS });
  }

  /** Ends the streams whose key or token is no longer valid. The object calls it about every second. */
  tick(): Promise<void> {
    return this.#keys.tick();
  }

  #takeSeat(seat: Seat): boolean {
    const verdict = this.#seats.take(seat);
    if (verdict === "full" && this.#yieldSeat(seat.tenant)) return this.#seats.take(seat) === "taken";
    return verdict === "taken";
  }

  /**
   * When all seats are taken, the tenant with the most viewers loses its latest one, unless the newcomer's tenant has as
   * many. The stream gives its seat back while it ends.
   */
  #yieldSeat(newcomer: string): boolean {
    const tenant = this.#seats.tenantToYield(newcomer);
    const latest = tenant === null ? undefined : [...(this.#ends.get(tenant) ?? [])].at(-1);
    latest?.();
    return latest !== undefined;
  }
}

/** The tenant, key and stream for which a seat is counted. `stream`: the run that the viewer watches, or `feed`. */
type Seat = { tenant: string; keyId: string; stream: string };

/** The most viewers: in all, of one tenant, of one key of a tenant, and of one stream by one key. */
type SeatLimits = { all: number; tenant: number; key: number; stream: number };

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

  take(seat: Seat): SeatVerdict {
    const { all, tenant, key, stream } = this.#limits;
    const used = <Name>(counts: Map<Name, number>, name: Name) => counts.get(name) ?? 0;
    if (used(this.#tenants, seat.tenant) >= tenant) return "refused";
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

type WatchedKey = { viewers: Map<() => void, number | null>; checkedAtMs: number };

/**
 * Ends the streams whose key is revoked or has expired, and those whose stream token has expired.
 *
 * A key that has just come is checked at the next tick, because the edge may have found it in its cache. Then all keys
 * that are due are checked in one query. While Postgres is unreachable no stream ends: the check is repeated.
 */
export class KeyWatch {
  readonly #readValid: (keyIds: string[]) => Promise<Set<string>>;
  readonly #keys = new Map<string, WatchedKey>();
  #isChecking = false;

  /** @param readValid returns those of the keys that are neither revoked nor expired */
  constructor(readValid: (keyIds: string[]) => Promise<Set<string>>) {
    this.#readValid = readValid;
  }

  /** Calls `end` when the grant is no longer valid. Returns what removes it from the watch. */
  add({ keyId, untilMs }: Grant, end: () => void): () => void {
    const key = this.#keys.get(keyId) ?? { viewers: new Map(), checkedAtMs: -Infinity };
    this.#keys.set(keyId, key);
    key.viewers.set(end, untilMs);
    return () => {
      key.viewers.delete(end);
      if (key.viewers.size === 0 && this.#keys.get(keyId) === key) this.#keys.delete(keyId);
    };
  }

  /** Ends streams with an expired token, and checks the keys that are due. */
  async tick(): Promise<void> {
    const nowMs = Date.now();
    for (const key of this.#keys.values()) endViewers(key, (untilMs) => untilMs !== null && untilMs <= nowMs);
    if (!this.#isChecking) await this.#checkDue();
  }

  async #checkDue(): Promise<void> {
    const startedMs = performance.now();
    const due = [...this.#keys].filter(([, key]) => startedMs - key.checkedAtMs >= KEY_CHECK_MS);
    if (due.length === 0) return;
    this.#isChecking = true;
    try {
      const valid = await this.#readValid(due.map(([keyId]) => keyId));
      for (const [keyId, key] of due) {
        key.checkedAtMs = startedMs;
        if (!valid.has(keyId)) endViewers(key, () => true);
      }
    } catch (error) {
      log.warn("relay.key_check_failed", { message: messageOf(error) });
    } finally {
      this.#isChecking = false;
    }
  }
}

/** Ends the matching viewers. It removes each from the watch first, so that none is ended twice. */
function endViewers({ viewers }: WatchedKey, isOver: (untilMs: number | null) => boolean): void {
  for (const [end, untilMs] of viewers) {
    if (!isOver(untilMs)) continue;
    viewers.delete(end);
    end();
  }
}
