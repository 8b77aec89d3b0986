/** The slots of a worker as its tenants share them: how many jobs of each tenant a claim may take. */
import type { TenantId } from "../../../shared/contracts/ids.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import type { HeldRuns, Room } from "../../../shared/queue/claim.ts";

type WeightOf = (tenant: TenantId) => number;

export class WorkerRoom {
  readonly #weightOf: WeightOf;
  #slots: number;
  #open: number;
  readonly #lanes: Partial<Record<Lane, number>>;
  readonly #openLanes: Partial<Record<Lane, number>>;
  readonly #held: HeldRuns[] = [];
  readonly #heldBefore: readonly HeldRuns[];

  constructor(
    { slots, lanes, shares = { open: slots, openLanes: lanes, held: [] } }: Room,
    weightOf: WeightOf = () => 1,
  ) {
    this.#weightOf = weightOf;
    this.#slots = slots;
    this.#open = shares.open;
    this.#lanes = { ...lanes };
    this.#openLanes = { ...shares.openLanes };
    this.#held.push(...shares.held);
    this.#heldBefore = shares.held;
  }

  /** Whether the worker has a slot for the lane. */
  hasRoom(lane: Lane): boolean {
    return this.#slots > 0 && (this.#lanes[lane] ?? 0) > 0;
  }

  /**
   * Whether the worker may take one more job of the tenant in the lane, past tenants that are at their share (`past`). Without
   * them its turn comes first. Of those tenants the runs before the claim count: a claim may pass one over and then take
   * a run of it in another lane, and leaves what could go past it now to the next claim.
   */
  mayTake({ tenant, lane }: { tenant: TenantId; lane: Lane }, past: readonly TenantId[] = []): boolean {
    if (!this.hasRoom(lane)) return false;
    const isBelowShare = this.#open > 0 || this.#isWithin(tenant, Lane.options, this.#slots, past);
    const isBelowShareOfLane =
      (this.#openLanes[lane] ?? 0) > 0 || this.#isWithin(tenant, [lane], this.#lanes[lane] ?? 0, past);
    return isBelowShare && isBelowShareOfLane;
  }

  #isWithin(tenant: TenantId, lanes: readonly Lane[], free: number, past: readonly TenantId[]): boolean {
    const own = countOf(this.#held, tenant, lanes);
    if (own === 0) return true;
    const isAhead = (other: TenantId): boolean =>
      (own + 1) / this.#weightOf(tenant) > countOf(this.#heldBefore, other, lanes) / this.#weightOf(other);
    return own < free && !past.some((other) => other !== tenant && isAhead(other));
  }

  take({ tenant, lane }: { tenant: TenantId; lane: Lane }): void {
    this.#slots -= 1;
    this.#open -= 1;
    this.#lanes[lane] = (this.#lanes[lane] ?? 0) - 1;
    this.#openLanes[lane] = (this.#openLanes[lane] ?? 0) - 1;
    this.#held.push({ tenant, lane, count: 1 });
  }
}

function countOf(held: readonly HeldRuns[], holder: TenantId, lanes: readonly Lane[]): number {
  return held.reduce(
    (sum, { tenant, lane, count }) => (tenant === holder && lanes.includes(lane) ? sum + count : sum),
    0,
  );
}
