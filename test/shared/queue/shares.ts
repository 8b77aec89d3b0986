/** The slots of a worker as its tenants share them: what a claim may take of whom. */
import type { TenantId } from "../../../shared/contracts/ids.ts";
import type { Lane } from "../../../shared/contracts/run.ts";
import type { HeldRuns, Room, Shares } from "../../../shared/queue/claim.ts";

type WeightOf = (tenant: TenantId) => number;

export class WorkerRoom {
  readonly #weightOf: WeightOf;
  readonly #openTotal: number;
  readonly #openLaneTotals: Partial<Record<Lane, number>>;
  #slots: number;
  #open: number;
  readonly #lanes: Partial<Record<Lane, number>>;
  readonly #openLanes: Partial<Record<Lane, number>>;
  readonly #held: { tenant: TenantId; lane: Lane; count: number }[] = [];

  constructor({ slots, lanes, shares = allOpen(slots, lanes) }: Room, weightOf: WeightOf = () => 1) {
    this.#weightOf = weightOf;
    this.#openTotal = shares.openTotal;
    this.#openLaneTotals = shares.openLaneTotals;
    this.#slots = slots;
    this.#open = shares.open;
    this.#lanes = { ...lanes };
    this.#openLanes = { ...shares.openLanes };
    this.#held.push(...shares.held);
  }

  /** Whether the worker has a slot for the lane. */
  hasRoom(lane: Lane): boolean {
    return this.#slots > 0 && (this.#lanes[lane] ?? 0) > 0;
  }

  /** Whether the worker may take one more job of the tenant in the lane. */
  mayTake({ tenant, lane }: { tenant: TenantId; lane: Lane }, hasBegun = false): boolean {
    const left = this.#lanes[lane] ?? 0;
    if (!this.hasRoom(lane)) return false;
    const ofLane = this.#held.filter((held) => held.lane === lane);
    const isBelowShare =
      this.#open > 0 ||
      this.#isWithin(tenant, this.#held, this.#slots, hasBegun ? Infinity : this.#openTotal);
    const isBelowShareOfLane =
      (this.#openLanes[lane] ?? 0) > 0 ||
      this.#isWithin(tenant, ofLane, left, hasBegun ? Infinity : (this.#openLaneTotals[lane] ?? 0));
    return isBelowShare && isBelowShareOfLane;
  }

  #isWithin(tenant: TenantId, held: readonly HeldRuns[], free: number, openTotal: number): boolean {
    const own = held.filter((each) => each.tenant === tenant).reduce((sum, { count }) => sum + count, 0);
    if (own === 0) return true;
    const tenants = [...new Set(held.map((each) => each.tenant))];
    const sum = tenants.reduce((all, each) => all + this.#weightOf(each), 0);
    return own < free && own * sum < openTotal * this.#weightOf(tenant);
  }

  take({ tenant, lane }: { tenant: TenantId; lane: Lane }): void {
    this.#slots -= 1;
    this.#open -= 1;
    this.#lanes[lane] = (this.#lanes[lane] ?? 0) - 1;
    this.#openLanes[lane] = (this.#openLanes[lane] ?? 0) - 1;
    this.#held.push({ tenant, lane, count: 1 });
  }
}

function allOpen(slots: number, lanes: Room["lanes"]): Shares {
  return { open: slots, openLanes: lanes, openTotal: slots, openLaneTotals: lanes, held: [] };
}
