import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { toAppError } from "../http/problem.ts";

/** Runs handled at the same time: as many as a request has connections to Postgres. */
const AT_ONCE = 5;

/** How much of what is meant one request handles, and from where on. */
export const Page = z.object({
  limit: z.number().int().min(1).max(200).default(100),
  cursor: z.string().max(255).default(""),
  dry_run: z.boolean().default(false),
});

/** What became of one run of many: its new status, or why not. */
const Item = z.object({
  run_id: RunId,
  status: z.string().optional(),
  code: z.string().optional(),
  detail: z.string().optional(),
});
export type Item = z.infer<typeof Item>;

/** `matched`: how many are meant, up to 100,000, in a dry run; else how many this request has handled. */
export const Bulk = z
  .object({
    dry_run: z.boolean(),
    matched: z.number().int(),
    results: z.array(Item),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: "Bulk" });
export type Bulk = z.infer<typeof Bulk>;

/** Does `act` to each run, a few at a time. What it throws is that run's answer and spoils no other. */
export async function forEach(runs: readonly RunId[], act: (run: RunId) => Promise<string>): Promise<Item[]> {
  const items: Item[] = [];
  for (let at = 0; at < runs.length; at += AT_ONCE) {
    items.push(...(await Promise.all(runs.slice(at, at + AT_ONCE).map((run) => one(run, act)))));
  }
  return items;
}

async function one(run_id: RunId, act: (run: RunId) => Promise<string>): Promise<Item> {
  try {
    return { run_id, status: await act(run_id) };
  } catch (error) {
    const { code, message } = toAppError(error);
    return { run_id, code, detail: message };
  }
}
