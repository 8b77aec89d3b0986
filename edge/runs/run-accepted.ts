import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";

/** A run that is queued, by whatever way: where to watch it and where to ask for it. */
export const RunAccepted = z
  .object({ run_id: RunId, status: z.literal("queued"), stream_url: z.string(), status_url: z.string() })
  .meta({ id: "RunAccepted" });
export type RunAccepted = z.infer<typeof RunAccepted>;

export function acceptedOf(run_id: RunId): RunAccepted {
  const url = `/api/v2/orchestrations/runs/${run_id}`;
  return { run_id, status: "queued", stream_url: `${url}/stream`, status_url: `${url}/status` };
}
