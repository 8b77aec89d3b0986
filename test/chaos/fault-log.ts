/** What was done to the system, and when: printed beside what went wrong. */

/** A fault; times by the clock of this machine, `untilMs` null while it lasts. `stores`: it takes part of one away. */
export type Fault = { kind: string; detail: string; fromMs: number; untilMs: number | null; blocks: boolean };

export class FaultLog {
  readonly faults: Fault[] = [];

  /** Notes a fault that begins. `blocks`: while it lasts, runs may rightly stand still. */
  begin(kind: string, detail: string, blocks: boolean): Fault {
    const fault: Fault = { kind, detail, fromMs: Date.now(), untilMs: null, blocks };
    this.faults.push(fault);
    return fault;
  }

  /** Notes a fault that is over in a moment; its effect may excuse standing still for `blocksMs`. */
  note(kind: string, detail: string, fromMs: number, blocksMs: number): void {
    const untilMs = fromMs + blocksMs;
    this.faults.push({ kind, detail, fromMs, untilMs, blocks: blocksMs > 0 });
  }

  end(fault: Fault): void {
    fault.untilMs = Date.now();
  }

  /** Is anything away now whose absence excuses standing still? */
  get blocked(): boolean {
    const nowMs = Date.now();
    return this.faults.some(({ blocks, untilMs }) => blocks && (untilMs === null || untilMs > nowMs));
  }

  countByKind(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { kind } of this.faults) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  }

  between(fromMs: number, toMs: number): Fault[] {
    return this.faults.filter(({ fromMs: from, untilMs }) => from <= toMs && (untilMs ?? Infinity) >= fromMs);
  }
}
