import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import { StoredPage } from "../../contracts/journal-entry.ts";
import { readCutText } from "../journal/cut-text.ts";
import { Committed, flush } from "../journal/flush.ts";
import { NewEntry } from "../journal/new-entry.ts";
import { findCommitted, readStoredPage } from "../journal/read-journal.ts";
import { runIds } from "./verb.ts";
import type { Bind } from "./verb.ts";

/** The entries of runs: their commit, and what reads them back. */
export function journalVerbs(bind: Bind) {
  return {
    flush: bind({
      name: "flush",
      args: z.tuple([z.array(NewEntry).max(256)]),
      result: z.array(Committed),
      run: flush,
    }),
    findCommitted: bind({
      name: "findCommitted",
      args: z.tuple([z.array(z.object({ run_id: RunId, seq: z.number().int(), attempt: z.number().int() }))]),
      result: runIds,
      run: findCommitted,
    }),
    readStoredPage: bind({
      name: "readStoredPage",
      args: z.tuple([RunId, z.number().int(), z.number().int()]),
      result: StoredPage,
      run: readStoredPage,
    }),
    readCutText: bind({
      name: "readCutText",
      args: z.tuple([RunId, z.number().int(), z.string()]),
      result: z.string(),
      run: readCutText,
    }),
  };
}
