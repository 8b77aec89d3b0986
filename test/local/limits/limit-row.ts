/** A limit with a flood by 50 clients against it. */
export type LimitRow = {
  name: string;
  /** The limit, which no flood passes, and what a flood uses at least when nothing is held. */
  most: number;
  least: number;
  prepare(tenant: string): Promise<void>;
  /** 50 clients at once. @returns the most that was in use at one time */
  flood(tenant: string): Promise<number>;
  /** Ends what the flood has begun. Afterwards the whole limit must be free again. */
  settle(tenant: string): Promise<void>;
};
