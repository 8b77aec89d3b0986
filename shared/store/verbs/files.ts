import { z } from "zod";
import { UploadId } from "../../contracts/artifact.ts";
import { RunId } from "../../contracts/ids.ts";
import { forgetUploads, takeExpiredUploads } from "../files/expired-uploads.ts";
import { takeExpiredObjects } from "../files/expired-objects.ts";
import { findOrphans } from "../files/orphans.ts";
import { readSweep, saveSweep } from "../files/object-sweep.ts";
import { BytesRoom, StoredFile, reserveFile } from "../files/file-bytes.ts";
import { RunFileList, readRunFiles } from "../files/run-files.ts";
import type { Bind } from "./verb.ts";

/** The files of runs, and the deletion of objects that nothing refers to. */
export function fileVerbs(bind: Bind) {
  return {
    readRunFiles: bind({
      name: "readRunFiles",
      args: z.tuple([RunId]),
      result: RunFileList,
      run: readRunFiles,
    }),
    reserveFile: bind({
      name: "reserveFile",
      args: z.tuple([StoredFile]),
      result: BytesRoom,
      run: reserveFile,
    }),
    readSweep: bind({
      name: "readSweep",
      args: z.tuple([]),
      result: z.string().nullable(),
      run: readSweep,
    }),
    saveSweep: bind({
      name: "saveSweep",
      args: z.tuple([z.object({ last: z.string().nullable(), isWhole: z.boolean() })]),
      result: z.null(),
      run: saveSweep,
    }),
    findOrphans: bind({
      name: "findOrphans",
      args: z.tuple([z.array(z.string()).max(1_000)]),
      result: z.array(z.string()),
      run: findOrphans,
    }),
    takeExpiredObjects: bind({
      name: "takeExpiredObjects",
      args: z.tuple([z.array(z.string()).max(1_000)]),
      result: z.array(z.string()),
      run: takeExpiredObjects,
    }),
    takeExpiredUploads: bind({
      name: "takeExpiredUploads",
      args: z.tuple([]),
      result: z.array(z.object({ upload_id: z.string(), tenant_id: z.string() })),
      run: takeExpiredUploads,
    }),
    forgetUploads: bind({
      name: "forgetUploads",
      args: z.tuple([z.array(UploadId).max(1_000)]),
      result: z.null(),
      run: forgetUploads,
    }),
  };
}
