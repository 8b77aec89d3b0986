/** Virtual time: a list of timers, and processes that can be frozen and killed between two of them. */
import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as nextTurn } from "node:timers";
import { vi } from "vitest";

/** 13 digits, like the base of a run's id. */
export const START_MS = 1_800_000_000_000;

/** The process that runs now. Each timer that it starts belongs to it, and never fires after its death. */
const current = new AsyncLocalStorage<SimProcess>();

export type Timer = { atMs: number; order: number; fire: (() => void) | null };

export class Clock {
  nowMs = START_MS;
  readonly #timers: Timer[] = [];
  #order = 0;

  after(ms: number, fire: () => void): Timer {
    const whole = Number.isFinite(ms) ? Math.max(0, Math.round(ms)) : 0;
    const timer = { atMs: this.nowMs + whole, order: this.#order++, fire };
    this.#push(timer);
    return timer;
  }

  /**
   * Fires the timers one after the other, until `done` or `untilMs`. Between two timers all promises that can be settled
   * are settled.
   */
  async run(untilMs: number, done: () => boolean = () => false): Promise<void> {
    for (let next = this.#timers[0]; next && next.atMs <= untilMs && !done(); next = this.#timers[0]) {
      this.#pop();
      if (!next.fire) continue;
      this.nowMs = next.atMs;
      next.fire();
      await new Promise<void>((resolve) => void nextTurn(resolve));
    }
    if (!done()) this.nowMs = Math.max(this.nowMs, untilMs);
  }

  // A binary heap by time, then by order.
  #push(timer: Timer): void {
    const heap = this.#timers;
    let at = heap.push(timer) - 1;
    for (let up = (at - 1) >> 1; at > 0; at = up, up = (at - 1) >> 1) {
      const parent = heap[up];
      if (!parent || isBefore(parent, timer)) break;
      heap[at] = parent;
      heap[up] = timer;
    }
  }

  #pop(): void {
    const heap = this.#timers;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]];
      const child = right && left && isBefore(right, left) ? right : left;
      if (!child || isBefore(last, child)) break;
      heap[at] = child;
      at = child === left ? 2 * at + 1 : 2 * at + 2;
    }
    heap[at] = last;
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A process that can be frozen or killed between any two lines. Its promises wait until it is thawed; those of a killed process wait for ever. */
export class SimProcess {
  readonly name: string;
  readonly clock: Clock;
  dead = false;
  /** Called once, at the moment of its death. */
  onDeath: (() => void) | null = null;
  #frozen = false;
  #inbox: (() => void)[] = [];

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.clock = clock;
  }

  kill(): void {
    if (this.dead) return;
    this.dead = true;
    this.onDeath?.();
    this.#inbox = [];
  }

  freeze(ms: number): void {
    if (this.#frozen) return;
    this.#frozen = true;
    this.clock.after(ms, () => this.thaw());
  }

  /** Ends the freeze. What arrived during it is delivered now, in the order of arrival. */
  thaw(): void {
    if (!this.#frozen) return;
    this.#frozen = false;
    for (const act of this.#inbox.splice(0)) this.clock.after(0, () => this.deliver(act));
  }

  /** Runs `act` as code of this process: now, or when it is thawed, or never if it is dead. */
  deliver(act: () => void): void {
    if (this.dead) return;
    if (this.#frozen) this.#inbox.push(act);
    else current.run(this, act);
  }

  after(ms: number, act: () => void): Timer {
    return this.clock.after(ms, () => this.deliver(act));
  }
}

/** The process that runs now. */
export function currentProcess(): SimProcess {
  const process = current.getStore();
  if (!process) throw new Error("this code belongs to no process of the simulation");
  return process;
}

/** Replaces all clocks that the code under test reads by `clock`, until `vi.unstubAllGlobals()`. */
export function stubGlobals(clock: Clock, random: () => number): void {
  const RealDate = Date;
  class VirtualDate extends RealDate {
    constructor(...args: [] | [number | string]) {
      super(args[0] ?? clock.nowMs);
    }
    static override now = (): number => clock.nowMs;
  }
  const clear = (timer: Timer | undefined): void => {
    if (timer) timer.fire = null;
  };
  vi.stubGlobal("Date", VirtualDate);
  vi.stubGlobal("performance", { now: () => clock.nowMs - START_MS });
  vi.stubGlobal("setTimeout", (act: () => void, ms: number) => currentProcess().after(ms, act));
  vi.stubGlobal("setImmediate", (act: () => void) => currentProcess().after(0, act));
  vi.stubGlobal("clearTimeout", clear);
  vi.stubGlobal("setInterval", (act: () => void, ms: number) => interval(currentProcess(), act, ms));
  vi.stubGlobal("clearInterval", clear);
  vi.spyOn(Math, "random").mockImplementation(random);
}

/** An interval. Ticks that a frozen process misses do not come later. */
function interval(process: SimProcess, act: () => void, ms: number): Timer {
  const handle: Timer = { atMs: Infinity, order: 0, fire: act };
  const tick = (): void => {
    if (!handle.fire) return;
    process.after(ms, tick);
    act();
  };
  process.after(ms, tick);
  return handle;
}
