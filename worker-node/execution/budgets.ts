import type { Reservation } from "../../shared/store/money/reserve.ts";
import { FAMILY } from "../../shared/store/money/budget-rows.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import { inTrack, namesOf } from "../engine/events.ts";
import type { ModelRequest } from "../engine/ports.ts";
import { TerminalError } from "../engine/step-errors.ts";
import type { Quote } from "../models/prices.ts";
import { ReservationLimiter } from "./reservation-limiter.ts";
import { Stop, abortableSleep } from "./stop.ts";
import type { PaidVisit } from "./execution-state.ts";
import { waitForStore } from "./wait-for-store.ts";

/** The pauses between two tries to reserve a call while others have reserved what is left. */
const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 1_000;

/** Limits the reservations of this process, which is one worker. */
const limiter = new ReservationLimiter();

type Refused = Extract<Reservation, { outcome: "refused" }>;

/** A budget has no room for a model call, and the run waits until it is raised or its next period begins. */
export class BudgetPause extends Error {
  readonly refused: Refused;
  /** The run's signals before the budget was read: a raise since then refuses the park. */
  readonly signals: number;

  constructor(refused: Refused, signals: number, message: string) {
    super(message);
    this.name = "BudgetPause";
    this.refused = refused;
    this.signals = signals;
  }
}

/** A call that has its place in the budgets. `reserved`: the name of its reservation; null: no budget applies. */
export type Admitted = { request: ModelRequest; quote: Quote; reserved: string | null };

/**
 * Reserves a model call in the budgets of its run, and waits while others have reserved what is left. At a limit it does what the
 * budget says: it throws, or it takes the cheaper model that the budget names, once for each budget. A call that costs nothing fits
 * into every budget.
 * @throws TerminalError `budget_exceeded`; BudgetPause; Stop `superseded`
 */
export async function reserveCall(
  visit: PaidVisit,
  request: ModelRequest,
  quote: Quote,
  signal: AbortSignal,
): Promise<Admitted> {
  const { state, track, step } = visit;
  const { run, runLog, deps } = state;
  const downgraded = new Set<string>();
  let current = { request, quote };
  let pauseMs = FIRST_PAUSE_MS;
  for (;;) {
    const { cost } = current.quote;
    // A budget may be spent and more, after an estimate's error or since its limit was lowered. A wait is closed by a reservation.
    if (cost === 0 && track.budgetWait === null) return { ...current, reserved: null };
    // A name of its own for each call: a repeated statement reserves once, and a repeated call is charged beside the first one.
    const call = `${request.effectKey}#${run.attempt}.${++state.reservations}`;
    const { signals } = runLog;
    const wanted = {
      run_id: run.run_id,
      attempt: run.attempt,
      owner: deps.owner,
      call,
      wait_id: track.budgetWait,
      cost,
    };
    const reserve = (): Promise<Reservation> => {
      signal.throwIfAborted();
      return deps.store.reserveInBudgets(wanted);
    };
    const reply = await waitForStore(run, signal, () => limiter.run(run.tenant_id, reserve));
    switch (reply.outcome) {
      case "free":
        return { ...current, reserved: null };
      case "reserved":
        return { ...current, reserved: call };
      case "fenced":
        throw new Stop("superseded", "another worker moves the run now");
      case "busy":
        await abortableSleep(pauseMs, signal);
        pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS);
        break;
      case "refused": {
        // A response that the provider has begun had its reservation, and is paid for whether it is fetched or not.
        if ((current.request.background?.attachTo ?? null) !== null) return { ...current, reserved: null };
        if (reply.budget_id.startsWith(FAMILY)) throw familyLimit(reply, run.run_id);
        const message = sentenceOf(reply, cost);
        if (reply.at_limit === "pause") throw new BudgetPause(reply, signals, message);
        const { budget_id, downgrade_model: model } = reply;
        if (model === null || downgraded.has(budget_id)) throw new TerminalError("budget_exceeded", message);
        downgraded.add(budget_id);
        current = cheaper(visit, { ...request, model });
        const event = { type: "budget_reached" as const, ...namesOf(step), budget_id, message, model };
        runLog.note([inTrack(track, { ...event, action: "downgrade" })]);
      }
    }
  }
}

/** The limit of the run, or of one above it, is reached by their calls and those of all runs below. */
function familyLimit({ budget_id, limit_micro_usd, spent_micro_usd }: Refused, run: RunId): TerminalError {
  const id = budget_id.slice(FAMILY.length);
  const name = id === run ? "the run" : `run ${id}, which this run belongs to,`;
  const [spent, limit] = [spent_micro_usd / 1e6, limit_micro_usd / 1e6];
  const message = `${name} had ${limit} USD left when it started its first run, and together they have spent ${spent} USD`;
  return new TerminalError("max_total_cost", message);
}

function cheaper({ state }: PaidVisit, request: ModelRequest): Pick<Admitted, "request" | "quote"> {
  const quote = state.deps.prices.quote(request);
  if (quote !== null) return { request, quote };
  const message = state.deps.prices.errorOf(request.model) ?? `"${request.model}" names no model`;
  throw new TerminalError("model_without_price", message);
}

/** Gives a reservation back. A failure costs little: it lapses when the run ends, waits, or is claimed again. */
export function releaseCall({ state: { run, deps } }: PaidVisit, call: string): void {
  deps.store.releaseReservation({ run_id: run.run_id, call }).catch((error: unknown) => {
    log.warn("budget.not_released", { ...aboutRun(run), message: messageOf(error) });
  });
}

function sentenceOf({ budget_id, limit_micro_usd, spent_micro_usd }: Refused, cost: number): string {
  const usd = (microUsd: number): string => String(microUsd / 1e6);
  return (
    `budget "${budget_id}" has no room for the model call: ${usd(spent_micro_usd)} of ${usd(limit_micro_usd)} USD are spent, ` +
    `and the call may cost ${usd(cost)} USD`
  );
}
