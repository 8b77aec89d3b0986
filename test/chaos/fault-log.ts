/** All faults with their times; the report prints them beside the violations. */

/** A fault, with times of this machine's clock. `untilMs`: null while it lasts. `blocks`: runs may stall meanwhile. */
export type Fault = { kind: string; detail: string; fromMs: number; untilMs: number | null; blocks: boolean };

export class FaultLog {
  readonly faults: Fault[] = [];

  /** Records a fault that begins. `blocks`: while it lasts, a run that does not move breaks no promise. */
  begin(kind: string, detail: string, blocks: boolean): Fault {
    const fault: Fault = { kind, detail, fromMs: Date.now(), untilMs: null, blocks };
    this.faults.push(fault);
    return fault;
  }

  /** Records a fault that is over at once. For `blocksMs` after it, a run that does not move breaks no promise. */
  note(kind: string, detail: string, fromMs: number, blocksMs: number): void {
    const untilMs = fromMs + blocksMs;
    this.faults.push({ kind, detail, fromMs, untilMs, blocks: blocksMs > 0 });
  }

  end(fault: Fault): void {
    fault.untilMs = Date.now();
  }

  /** Whether a fault that excuses stalls is active now. */
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
