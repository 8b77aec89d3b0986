import { KeyWatch } from "./key-watch.ts";
import { Seats } from "./seats.ts";
import type { Seat, SeatLimits } from "./seats.ts";
import { SSE_HEADERS } from "./sse-writer.ts";

/** A viewer that asks for a stream. `untilMs`: when its stream token expires; null: it has none. */
type Newcomer = {
  seat: Seat;
  /** The tenant's own limit of open streams; null: it is not known, and the tenant may take as many seats as any tenant. */
  maxStreams: number | null;
  untilMs: number | null;
  signal: AbortSignal;
};

/** The stream to a viewer, and what ends it. */
type OpenStream = { body: ReadableStream<Uint8Array>; close(): void };

/** Starts the stream of a viewer that has a seat. The stream ends with `signal`, and calls `onClosed` once, whatever ends it. */
type Start = (signal: AbortSignal, onClosed: () => void) => OpenStream;

/**
 * Decides which viewers a Durable Object serves, and for how long: a viewer needs a seat, and its key or stream token has to stay
 * valid.
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
   * The stream of a viewer, if there is a seat for it; otherwise a 429. `onClosed` is called after the seat is free again. Streams are
   * ended by their `close`: an AbortController for each viewer, joined with that of its request, would take 2 KiB.
   */
  open({ seat, maxStreams, untilMs, signal }: Newcomer, start: Start, onClosed = () => {}): Response {
    if (!this.#takeSeat(seat, maxStreams ?? Infinity)) return new Response(null, { status: 429 });
    // Called later, when `stream` exists: by a tick, or when a newcomer gets this viewer's seat.
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

  #takeSeat(seat: Seat, ofTenant: number): boolean {
    const verdict = this.#seats.take(seat, ofTenant);
    if (verdict === "full" && this.#yieldSeat(seat.tenant))
      return this.#seats.take(seat, ofTenant) === "taken";
    return verdict === "taken";
  }

  /**
   * Ends the latest stream of the tenant with the most viewers, unless the newcomer's tenant has about as many. The stream gives its
   * seat back while it ends. @returns whether a seat is free now
   */
  #yieldSeat(newcomer: string): boolean {
    const tenant = this.#seats.tenantToYield(newcomer);
    const latest = tenant === null ? undefined : [...(this.#ends.get(tenant) ?? [])].at(-1);
    latest?.();
    return latest !== undefined;
  }
}
