/** The network between processes and stores: calls take time, and fail in every way in which networks fail. */
import { SimProcess } from "./clock.ts";
import type { VerbName } from "../../shared/store/state.ts";
import type { Clock, Timer } from "./clock.ts";

/**
 * What happens to one call. `fail`: the call does not arrive. `lose`: its reply does not arrive. `late`: the caller gets an
 * error, and the call arrives `ms` later. `twice`: the call arrives twice. `stuck`: no reply for `ms`, then an error.
 * `slow`: the statement begins now and is visible `ms` later. `kill`, `freeze`: the caller dies, or stops for `ms`,
 * before it sends the call. `kill_after`, `freeze_after`: the same after the call was carried out and before its reply.
 */
export const FAULTS = [
  "fail",
  "lose",
  "late",
  "twice",
  "stuck",
  "slow",
  "kill",
  "kill_after",
  "freeze",
  "freeze_after",
] as const;
export type FaultKind = (typeof FAULTS)[number];

/** The verbs of the queue, as faults name them. */
export type QueueVerb =
  | "giveBack"
  | "admit"
  | "enqueue"
  | "claimJobs"
  | "renew"
  | "restoreLeases"
  | "release"
  | "finish"
  | "pushLimits"
  | "reset"
  | "beginIndex"
  | "invalidateCounts"
  | "readIndex"
  | "advanceScan"
  | "advanceLimits"
  | "repairRing"
  | "list";

/** Statements of the edge. */
type EdgeVerb = "read" | "accept" | "answer" | "cancel" | "retry" | "save";
/** The verb of a call: of StateStore, of the queue (`claimJobs` is the queue's claim), or of the edge. */
export type Verb = VerbName | QueueVerb | EdgeVerb;

/** A fault for the next call with one of these verbs by a process. `process`: how the name of that process begins. */
export type Trap = { process: string; verbs: readonly Verb[]; is: FaultKind; ms: number };

/** A store as its callers see it. While `isUp` is false the store answers no call, and a caller gives up after `patienceMs`. */
export type Service = { name: string; isUp: boolean; patienceMs: number };

export class Network {
  readonly clock: Clock;
  readonly #random: () => number;
  readonly #onFault: (process: SimProcess, verb: Verb, trap: Trap) => void;
  #traps: Trap[] = [];
  #stuck: { timer: Timer; end(): void }[] = [];

  constructor(
    clock: Clock,
    random: () => number,
    onFault: (process: SimProcess, verb: Verb, trap: Trap) => void,
  ) {
    this.clock = clock;
    this.#random = random;
    this.#onFault = onFault;
  }

  set(trap: Trap): void {
    this.#traps.push(trap);
  }

  /** Ends all faults. */
  heal(): void {
    this.#traps = [];
    for (const { timer, end } of this.#stuck.splice(0)) if (timer.fire) end();
  }

  /**
   * Calls a verb of `service`. `act` carries it out atomically; its argument is the time at which the statement began. The
   * reply reaches `from` once it is not frozen, and never if it is dead.
   */
  call<Answer>(
    from: SimProcess,
    service: Service,
    verb: Verb,
    act: (beganAtMs: number) => Answer,
  ): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (from.dead) return promise;
    const trap = this.#take(from.name, verb);
    if (trap) this.#onFault(from, verb, trap);
    const failAfter = (ms: number): Timer =>
      from.after(ms, () => reject(new Error(`${service.name} did not reply to ${verb}`)));
    const giveUp = (): void => void failAfter(service.patienceMs);
    const arrive = (answers: boolean): void => {
      if (!service.isUp) return answers ? giveUp() : undefined;
      const beganAtMs = this.clock.nowMs;
      const commit = (): void => {
        const answer = settledResult(() => act(beganAtMs));
        if (trap?.is === "kill_after") from.kill();
        if (trap?.is === "freeze_after") from.freeze(trap.ms);
        if (!answers) return;
        from.after(this.#latency(), () => ("error" in answer ? reject(answer.error) : resolve(answer.value)));
      };
      if (trap?.is === "slow") this.clock.after(Math.min(trap.ms, 4_000), commit);
      else commit();
    };
    const send = (ms = this.#latency(), answers = true): void =>
      void this.clock.after(ms, () => arrive(answers));

    switch (trap?.is) {
      case "kill":
        from.kill();
        break;
      case "freeze":
        from.freeze(trap.ms);
        from.deliver(() => send());
        break;
      case "fail":
        giveUp();
        break;
      case "lose":
        send(this.#latency(), false);
        giveUp();
        break;
      case "late":
        giveUp();
        send(service.patienceMs + trap.ms, false);
        break;
      case "twice":
        send();
        send(this.#latency() + trap.ms, false);
        break;
      case "stuck": {
        const end = (): void => void failAfter(0);
        this.#stuck.push({ timer: this.clock.after(trap.ms * 10, end), end });
        break;
      }
      default:
        send();
    }
    return promise;
  }

  #latency(): number {
    return 1 + Math.floor(this.#random() * 4);
  }

  #take(name: string, verb: Verb): Trap | undefined {
    const at = this.#traps.findIndex(
      ({ process, verbs }) => name.startsWith(process) && verbs.includes(verb),
    );
    return at < 0 ? undefined : this.#traps.splice(at, 1)[0];
  }
}

function settledResult<Answer>(act: () => Answer): { value: Answer } | { error: unknown } {
  try {
    return { value: act() };
  } catch (error) {
    return { error };
  }
}
