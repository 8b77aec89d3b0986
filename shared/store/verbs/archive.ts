import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import { ArchivePlace } from "../../archive/read-archive.ts";
import {
  JournalPosition,
  JournalRow,
  StoredSegment,
  UnusedSegment,
  forgetSegments,
  postponeJournals,
  readArchivePlace,
  readJournals,
  recordSegment,
  takeUnusedSegments,
} from "../archive/archive-journals.ts";
import { JournalBatch, claimJournals, queueEndedRuns } from "../archive/queue-journals.ts";
import { runIds } from "./verb.ts";
import type { Bind } from "./verb.ts";

/** The way of ended journals into the object store and back. */
export function archiveVerbs(bind: Bind) {
  return {
    queueEndedRuns: bind({
      name: "queueEndedRuns",
      args: z.tuple([]),
      result: z.boolean(),
      run: queueEndedRuns,
    }),
    claimJournals: bind({
      name: "claimJournals",
      args: z.tuple([z.string()]),
      result: JournalBatch.nullable(),
      run: claimJournals,
    }),
    readJournals: bind({
      name: "readJournals",
      args: z.tuple([runIds, JournalPosition]),
      result: z.array(JournalRow),
      run: readJournals,
    }),
    recordSegment: bind({
      name: "recordSegment",
      args: z.tuple([StoredSegment]),
      result: z.number(),
      run: recordSegment,
    }),
    postponeJournals: bind({
      name: "postponeJournals",
      args: z.tuple([runIds]),
      result: z.null(),
      run: postponeJournals,
    }),
    readArchivePlace: bind({
      name: "readArchivePlace",
      args: z.tuple([RunId]),
      result: ArchivePlace.nullable(),
      run: readArchivePlace,
    }),
    takeUnusedSegments: bind({
      name: "takeUnusedSegments",
      args: z.tuple([]),
      result: z.array(UnusedSegment),
      run: takeUnusedSegments,
    }),
    forgetSegments: bind({
      name: "forgetSegments",
      args: z.tuple([z.array(z.string()).max(1_000)]),
      result: z.null(),
      run: forgetSegments,
    }),
  };
}
