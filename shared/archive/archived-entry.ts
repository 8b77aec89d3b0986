import { z } from "zod";
import { EntryKind } from "../contracts/journal-entry.ts";

/** A row of the journal as a segment keeps it: all its columns. `at_us`: microseconds since 1970. */
export const ArchivedEntry = z.object({
  seq: z.number().int(),
  events_n: z.number().int().positive(),
  attempt: z.number().int(),
  kind: EntryKind,
  step_path: z.string().nullable(),
  visit: z.number().int().nullable(),
  output: z.string().nullable(),
  events: z.string(),
  at_us: z.number().int(),
});
export type ArchivedEntry = z.infer<typeof ArchivedEntry>;
