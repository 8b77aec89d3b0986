import { fileReference, artifactsFullDetail, newFileKey } from "../../shared/contracts/artifact.ts";
import type { NewArtifact } from "../../shared/store/files/new-artifact.ts";
import type { FileEntry, RunFileList } from "../../shared/store/files/run-files.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Files } from "../engine/ports.ts";
import { RetryableError, TerminalError, ToolRejection } from "../engine/step-errors.ts";
import { stepErrorOf, withoutStore } from "../execution/object-store.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { FileStore } from "./file-store.ts";
import { measured } from "./measured.ts";
import { MAX_TEXT_BYTES, contentOf } from "./text-file.ts";

/** The most files of one run, and their most bytes together. */
const MAX_FILES = 1_000;
const MAX_BYTES = 10 * 1024 ** 3;

/** `files` returns the object store of this moment; null: this worker has none. */
export type FilesDeps = {
  files: () => FileStore | null;
  store: Pick<StateStore, "readRunFiles" | "reserveFile">;
};

/** The try that reaches files. */
type TryFiles = {
  run: Pick<ClaimedRun, "run_id" | "tenant_id" | "attempt">;
  at: { prefix: string; step_path: string; visit: number };
  written: NewArtifact[];
  signal: AbortSignal;
};

/**
 * The files that one try of a visit can reach: the files of its run and of its session, and the run's attachments. `written`: the files
 * that this try has written and that no checkpoint has committed yet; a new file is added to it. `at`: the visit. Its attempt is part of
 * every key, so a fenced worker cannot overwrite a file of a later attempt.
 */
export function runFiles(
  { files: current, store }: FilesDeps,
  { run, at, written, signal }: TryFiles,
): Files {
  const all = async () => {
    const list = await store.readRunFiles(run.run_id);
    return { ...list, files: withWritten(list.files, written) };
  };
  const find = async (name: string): Promise<FileEntry> => {
    const found = (await all()).files.find(
      (file) => file.name === name || file.object_key.endsWith(`/${name}`),
    );
    if (found) return found;
    throw new ToolRejection(`there is no file ${JSON.stringify(name)}: artifact_list has the names`);
  };
  /** @throws ToolRejection `artifacts_full` when the tenant has no room for the file; its object is deleted */
  const reserve = async (files: FileStore, file: { object_key: string; bytes: number }): Promise<void> => {
    const { run_id, tenant_id, attempt } = run;
    const room = await store.reserveFile({ ...file, run_id, tenant_id, attempt });
    if (room.accepted) return;
    // When this fails, the file sweep deletes the object a day later.
    await files
      .delete(file.object_key)
      .catch((error: unknown) => log.warn("file.not_deleted", { run: run_id, message: messageOf(error) }));
    throw new ToolRejection(artifactsFullDetail(room, file.bytes), { code: "artifacts_full" });
  };
  return {
    async write({ name, content_type, scope }, bytes) {
      const files = current();
      if (files === null) throw withoutStore();
      const list = await store.readRunFiles(run.run_id);
      if (scope === "session" && list.session_id === null) {
        throw new ToolRejection("this run has no session: it was started without a session_id");
      }
      const maxBytes = roomFor(list, written);
      const object_key = newFileKey(at.prefix, name);
      const { stream, facts } = measured(bytes, maxBytes, signal);
      await stored(files.putStream(object_key, stream, content_type), signal);
      const file = { name, content_type, ...facts() };
      await reserve(files, { object_key, bytes: file.bytes });
      written.push({ ...file, object_key, scope, step_path: at.step_path, visit: at.visit });
      return fileReference(object_key, file);
    },
    async read(name, offset, length) {
      const files = current();
      if (files === null) throw withoutStore();
      const file = await find(name);
      const wanted = Math.min(length, MAX_TEXT_BYTES, Math.max(0, file.bytes - offset));
      const bytes =
        wanted === 0
          ? new Uint8Array()
          : await stored(files.readRange(file.object_key, offset, wanted), signal);
      return { ...shown(file), offset, ...contentOf(file, bytes, { isEnd: offset + wanted >= file.bytes }) };
    },
    async list() {
      return (await all()).files.map(shown);
    },
  };
}

function shown({ name, content_type, bytes, sha256, scope, object_key }: FileEntry) {
  return {
    name,
    content_type,
    bytes,
    sha256,
    scope,
    url: fileReference(object_key, { name, content_type, bytes, sha256 }).url ?? "",
  };
}

/** The files with those that this try has written in place of older ones. Attachments may have the name of another file. */
function withWritten(files: readonly FileEntry[], written: readonly NewArtifact[]): FileEntry[] {
  const newest = new Map(written.map((file) => [file.name, file]));
  const rest = files.filter(({ name, scope }) => scope === "attachment" || !newest.has(name));
  return [...newest.values(), ...rest];
}

/** The most bytes of the next file. @throws ToolRejection `too_many_files` */
function roomFor({ max_bytes, own_files, own_bytes }: RunFileList, written: readonly NewArtifact[]): number {
  const left = MAX_BYTES - own_bytes - written.reduce((sum, { bytes }) => sum + bytes, 0);
  if (own_files + written.length < MAX_FILES && left > 0) return Math.min(max_bytes, left);
  const message = `the run has ${MAX_FILES} files, or 10 GiB of them, and can write no more`;
  throw new ToolRejection(message, { code: "too_many_files" });
}

/** @throws what the bytes of a file have thrown; else RetryableError `artifacts_away`, TerminalError `artifacts_refused` */
async function stored<Result>(answer: Promise<Result>, signal: AbortSignal): Promise<Result> {
  try {
    return await answer;
  } catch (error) {
    signal.throwIfAborted();
    // The bytes of the file come from the step: a failure there is an error of its own.
    if (error instanceof TerminalError || error instanceof RetryableError) throw error;
    throw stepErrorOf(error, "take or give back a file");
  }
}
