import { KeyWatch } from "./key-watch.ts";
import { Seats } from "./seats.ts";
import type { Seat, SeatLimits } from "./seats.ts";
import { SSE_HEADERS } from "./sse.ts";

/** A viewer that asks for a stream. `untilMs`: when its stream token expires; null: it has none. */
type Newcomer = { seat: Seat; untilMs: number | null; signal: AbortSignal };

/** Starts the stream of a viewer that has a seat. It ends with `signal`, and calls `onClosed` once, whatever ends it. */
type Start = (signal: AbortSignal, onClosed: () => void) => ReadableStream<Uint8Array>;

/**
 * Decides which viewers an object of the edge serves, and for how long: a viewer needs a seat, and the key by which it
 * watches has to stay valid.
 */
export class ViewerAdmission {
  readonly #seats: Seats;
  readonly #keys: KeyWatch;
  /** What ends the streams of each tenant, in the order in which they came. */
  readonly #ends = new Map<string, Set<() => void>>();

  constructor(limits: SeatLimits, readValidKeys: (keyIds: string[]) => Promise<Set<string>>) {
    this.#seats = new Seats(limits);
    this.#keys = new KeyWatch(readValidKeys);
  }

  get viewers(): number {
    return this.#seats.taken;
  }

  /** The stream of a viewer for which there is a seat; else 429. `onClosed` is called after it has given its seat back. */
  open({ seat, untilMs, signal }: Newcomer, start: Start, onClosed = () => {}): Response {
    if (!this.#takeSeat(seat)) return new Response(null, { status: 429 });
    const stopping = new AbortController();
    const end = () => stopping.abort();
    const ofTenant = this.#ends.get(seat.tenant) ?? new Set();
    this.#ends.set(seat.tenant, ofTenant.add(end));
    const unwatch = this.#keys.add({ keyId: seat.keyId, untilMs }, end);
    const body = start(AbortSignal.any([signal, stopping.signal]), () => {
      unwatch();
      this.#seats.release(seat);
      ofTenant.delete(end);
      if (ofTenant.size === 0 && this.#ends.get(seat.tenant) === ofTenant) this.#ends.delete(seat.tenant);
      onClosed();
    });
    return new Response(body, { headers: SSE_HEADERS });
  }

  /** Ends the streams whose key or token is no longer valid. To be called about every second. */
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
