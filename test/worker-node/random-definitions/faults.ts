/** What happens to the workers that execute a run one after the other. */
import fc from "fast-check";

/** The faults of one worker. The numbers are indexes of its calls to the outside, or of its flushes, from 0. */
export type Life = {
  /** Flushes that are late, that are not committed, or whose reply is lost. */
  flushes: { n: number; is: "slow" | "fail" | "lose" }[];
  /** Calls to the outside that fail, and may be repeated. */
  busy: number[];
  /** `call`: it dies during that call. `flush`: before or after that commit. `drain`: it hands the run over during that call. */
  ends: { by: "call" | "drain"; n: number } | { by: "flush"; n: number; isCommitted: boolean } | null;
};

export const CALM: Life = { flushes: [], busy: [], ends: null };

const n = fc.nat(6);
const life: fc.Arbitrary<Life> = fc.record({
  flushes: fc.array(fc.record({ n, is: fc.constantFrom("slow", "slow", "fail", "lose") }), { maxLength: 1 }),
  busy: fc.array(n, { maxLength: 2 }),
  ends: fc.oneof(
    fc.record({ by: fc.constantFrom("call", "call", "drain"), n }),
    fc.record({ by: fc.constant("flush"), n, isCommitted: fc.boolean() }),
    fc.constant(null),
  ),
});

/** The workers of one run. Those after them are undisturbed. */
export const anyLives: fc.Arbitrary<Life[]> = fc.array(life, { minLength: 1, maxLength: 5 });
