import { z } from "zod";

/** The most items of one batch. */
export const MAX_BATCH_ITEMS = 1_000;

/** The id of a batch of runs that one request submitted. */
export const BatchId = z
  .string()
  .regex(/^batch_[0-9a-f]{24}$/, "must look like batch_2483e17734070a1b2c3d4e5f")
  .brand("BatchId");
export type BatchId = z.infer<typeof BatchId>;

/** An item that started no run. */
export const RefusedItem = z.object({ index: z.number().int(), code: z.string(), detail: z.string() });
export type RefusedItem = z.infer<typeof RefusedItem>;

/** An item that started no run because `run_id` had its singleton key. */
export const SkippedItem = z.object({ index: z.number().int(), run_id: z.string() });
export type SkippedItem = z.infer<typeof SkippedItem>;
