/** What the process of the hostile clients gets, in an environment variable, as JSON. */
import { z } from "zod";
import { kindNames } from "./kinds.ts";

export const HOSTILE_CLIENTS = "CHAOS_HOSTILE_CLIENTS";

/** `base`: the address of the edge. `server`: that of the hostile server. `keys`: a key of each hostile tenant that takes part. */
export const Setup = z.object({
  base: z.string(),
  server: z.string(),
  keys: z.partialRecord(z.enum(kindNames), z.string()),
});
export type Setup = z.infer<typeof Setup>;

/** Kind → status → responses; the last line of that process has it as JSON. Status 0: no response came. */
export const Counts = z.partialRecord(z.enum(kindNames), z.record(z.string(), z.number()));
export type Counts = z.infer<typeof Counts>;
