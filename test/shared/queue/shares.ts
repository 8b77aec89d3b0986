/** The slots of a worker as its tenants share them: what a claim may take of whom. */
import type { TenantId } from "../../../shared/contracts/ids.ts";
import type { Lane } from "../../../shared/contracts/run.ts";
import type { Room } from "../../../shared/queue/claim.ts";

export class WorkerRoom {
  #slots: number;
  #open: number;
  readonly #lanes: Partial<Record<Lane, number>>;
  readonly #openLanes: Partial<Record<Lane, number>>;
  readonly #held = new Map<string, number>();

  constructor({ slots, lanes, shares = { open: slots, openLanes: lanes, held: [] } }: Room) {
    this.#slots = slots;
    this.#open = shares.open;
    this.#lanes = { ...lanes };
    this.#openLanes = { ...shares.openLanes };
    for (const { tenant, lane, count } of shares.held) this.#hold(tenant, lane, count);
  }

  /** Whether the worker has a slot for the lane. */
  hasRoom(lane: Lane): boolean {
    return this.#slots > 0 && (this.#lanes[lane] ?? 0) > 0;
  }

  /** Whether the worker may take one more job of the tenant in the lane. */
  mayTake({ tenant, lane }: { tenant: TenantId; lane: Lane }): boolean {
    const left = this.#lanes[lane] ?? 0;
    if (!this.hasRoom(lane)) return false;
    const isBelowShare = this.#open > 0 || this.#heldOf(tenant) < this.#slots;
    const isBelowShareOfLane = (this.#openLanes[lane] ?? 0) > 0 || this.#heldOf(`${lane}\0${tenant}`) < left;
    return isBelowShare && isBelowShareOfLane;
  }

  take({ tenant, lane }: { tenant: TenantId; lane: Lane }): void {
    this.#slots -= 1;
    this.#open -= 1;
    this.#lanes[lane] = (this.#lanes[lane] ?? 0) - 1;
    this.#openLanes[lane] = (this.#openLanes[lane] ?? 0) - 1;
    this.#hold(tenant, lane, 1);
  }

  #hold(tenant: TenantId, lane: Lane, count: number): void {
    for (const key of [tenant, `${lane}\0${tenant}`]) this.#held.set(key, this.#heldOf(key) + count);
  }

  #heldOf(key: string): number {
    return this.#held.get(key) ?? 0;
  }
}
