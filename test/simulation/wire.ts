/** The way between a process and a store: it takes time, and on it everything goes wrong that goes wrong on networks. */
import { SimProcess } from "./clock.ts";
import type { Clock, Timer } from "./clock.ts";

/**
 * What happens to one call. `fail`: it does not arrive. `lose`: its answer does not. `late`: the caller hears an error,
 * and `ms` later it arrives after all. `twice`: it arrives twice. `stuck`: nothing for `ms`, then an error. `slow`: a
 * statement that began now is visible `ms` later. `kill…`, `freeze…` (for `ms`): the caller, before the call leaves or
 * when it has been done and before the answer.
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

/** A fault that waits for a call: of the process whose name begins with `whose`, of a verb in `verbs`. */
export type Trap = { whose: string; verbs: readonly string[]; is: FaultKind; ms: number };

/** A store as it is reached: `isUp` false: nobody answers, and a caller gives up after `patienceMs`. */
export type Service = { name: string; isUp: boolean; patienceMs: number };

export class Network {
  readonly clock: Clock;
  readonly #random: () => number;
  readonly #onFault: (process: SimProcess, verb: string, trap: Trap) => void;
  #traps: Trap[] = [];
  #stuck: { timer: Timer; end(): void }[] = [];

  constructor(
    clock: Clock,
    random: () => number,
    onFault: (process: SimProcess, verb: string, trap: Trap) => void,
  ) {
    this.clock = clock;
    this.#random = random;
    this.#onFault = onFault;
  }

  set(trap: Trap): void {
    this.#traps.push(trap);
  }

  /** From now on all goes well. */
  heal(): void {
    this.#traps = [];
    for (const { timer, end } of this.#stuck.splice(0)) if (timer.fire) end();
  }

  /**
   * Asks `service` for `verb`. `act` does it, in one go; it is told when the statement began. The answer comes to `from`
   * if that lives then, and when it is not frozen.
   */
  call<Answer>(
    from: SimProcess,
    service: Service,
    verb: string,
    act: (beganAtMs: number) => Answer,
  ): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (from.dead) return promise;
    const trap = this.#take(from.name, verb);
    if (trap) this.#onFault(from, verb, trap);
    const fails = (ms: number): Timer =>
      from.after(ms, () => reject(new Error(`${service.name} did not answer ${verb}`)));
    const gaveUp = (): void => void fails(service.patienceMs);
    const arrive = (answers: boolean): void => {
      if (!service.isUp) return answers ? gaveUp() : undefined;
      const beganAtMs = this.clock.nowMs;
      const commit = (): void => {
        const answer = attempt(() => act(beganAtMs));
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
        gaveUp();
        break;
      case "lose":
        send(this.#latency(), false);
        gaveUp();
        break;
      case "late":
        gaveUp();
        send(service.patienceMs + trap.ms, false);
        break;
      case "twice":
        send();
        send(this.#latency() + trap.ms, false);
        break;
      case "stuck": {
        const end = (): void => void fails(0);
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

  #take(name: string, verb: string): Trap | undefined {
    const at = this.#traps.findIndex(({ whose, verbs }) => name.startsWith(whose) && verbs.includes(verb));
    return at < 0 ? undefined : this.#traps.splice(at, 1)[0];
  }
}

function attempt<Answer>(act: () => Answer): { value: Answer } | { error: unknown } {
  try {
    return { value: act() };
  } catch (error) {
    return { error };
  }
}
