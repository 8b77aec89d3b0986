import { z } from "zod";
import { FileFacts } from "../../contracts/artifact.ts";

/** A file that a tool has written: its row is committed with the checkpoint of the tool's call. */
export const NewArtifact = FileFacts.extend({
  object_key: z.string(),
  /** `session`: later runs of the same session may read it too. */
  scope: z.enum(["run", "session"]),
  step_path: z.string(),
  visit: z.number().int(),
});
export type NewArtifact = z.infer<typeof NewArtifact>;
