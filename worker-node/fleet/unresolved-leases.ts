import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { reconcileLeases } from "./restore-leases.ts";
import type { LeaseStores } from "./restore-leases.ts";

/**
 * Jobs that the queue leased to this worker in a claim whose outcome in Postgres is unknown. The worker claims nothing from
 * the queue before they are reconciled: otherwise each failed claim would take as many slots of the tenants for a whole lease.
 */
export class UnresolvedLeases {
  readonly #stores: LeaseStores;
  readonly #owner: Incarnation;
  readonly #jobs: JobName[] = [];
  #isUnanswered = false;

  constructor(stores: LeaseStores, owner: Incarnation) {
    this.#stores = stores;
    this.#owner = owner;
  }

  add(jobs: readonly JobName[]): void {
    this.#jobs.push(...jobs);
  }

  /** Adds the jobs of a claim without a reply. */
  addUnanswered(jobs: readonly JobName[]): void {
    this.add(jobs);
    this.#isUnanswered = true;
  }

  /**
   * Precedes the reconciliation of a claim without a reply: the claim may reach Postgres later, when the queue has given its slots to other
   * runs. After this it claims nothing.
   * @throws the store's error
   */
  async voidUnanswered(heartbeat: Pick<Heartbeat, "voidClaims">): Promise<void> {
    if (!this.#isUnanswered) return;
    this.#isUnanswered = false;
    try {
      await heartbeat.voidClaims();
    } catch (error) {
      this.#isUnanswered = true;
      throw error;
    }
  }

  async reconcileAll(): Promise<void> {
    await this.reconcile(this.#jobs.splice(0));
  }

  /**
   * Makes the queue agree with what Postgres says of these jobs. They stay unresolved when that fails.
   * @returns the time until the first of them may be claimed again, in milliseconds
   */
  async reconcile(jobs: readonly JobName[]): Promise<number> {
    if (jobs.length === 0) return Infinity;
    try {
      return await reconcileLeases(this.#stores, jobs, this.#owner);
    } catch (error) {
      this.add(jobs);
      throw error;
    }
  }
}
