import type { Lane } from "../contracts/run.ts";

/**
 * How lanes share a worker. When several lanes have ready jobs, they take turns in proportion to `weight`. `share` is
 * the part of a worker's slots that one lane may hold, so that slow bulk work never fills a worker.
 */
export const LANES = {
  interactive: { weight: 8, share: 1 },
  default: { weight: 4, share: 1 },
  bulk: { weight: 1, share: 0.5 },
  mail: { weight: 2, share: 0.5 },
  webhooks: { weight: 2, share: 0.5 },
} as const satisfies Record<Lane, { weight: number; share: number }>;
