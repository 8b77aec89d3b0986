import { z } from "zod";
import { UploadId } from "../contracts/artifact.ts";
import { ChatHistory, Summary } from "../contracts/chat.ts";
import { Incarnation, RunId, SessionId, TenantId } from "../contracts/ids.ts";
import { StoredPage } from "../contracts/journal-entry.ts";
import { Lane, NewRun } from "../contracts/run.ts";
import { ArchivePlace } from "../archive/read-archive.ts";
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
} from "./archive/archive-journals.ts";
import { JournalBatch, claimJournals, queueEndedRuns } from "./archive/queue-journals.ts";
import { LaneToStart, StartsTaken, takeStarts } from "./lanes/lane-starts.ts";
import { readChatHistory, readTurnText, saveChatSummary } from "./chat/messages.ts";
import { wakeTurns } from "./chat/turn-order.ts";
import { readDefinition } from "./definitions/agents-and-tools.ts";
import {
  McpListed,
  McpServerName,
  McpServerVersion,
  StoredMcpServer,
  claimMcpListings,
  readMcpServer,
  readMcpVersions,
  saveMcpListing,
} from "./definitions/mcp-servers.ts";
import {
  EndedMcpTask,
  McpTaskRow,
  claimEndedMcpTasks,
  forgetMcpTask,
  saveMcpTask,
} from "./definitions/mcp-tasks.ts";
import { readPinnedDefinition } from "./definitions/orchestrations.ts";
import { StoredDefinition } from "./definitions/stored-definition.ts";
import { deleteExpired } from "./delete-expired.ts";
import { forgetUploads, takeExpiredUploads } from "./files/expired-uploads.ts";
import { takeExpiredObjects } from "./files/expired-objects.ts";
import { findOrphans } from "./files/orphans.ts";
import { BytesRoom, StoredFile, reserveFile } from "./files/file-bytes.ts";
import { RunFileList, readRunFiles } from "./files/run-files.ts";
import { readCutText } from "./journal/cut-text.ts";
import { Committed, flush } from "./journal/flush.ts";
import { NewEntry } from "./journal/new-entry.ts";
import { findCommitted, readStoredPage } from "./journal/read-journal.ts";
import { ModelPrice } from "../contracts/model-price.ts";
import { NewerLimits } from "../queue/limits.ts";
import { WokenRun, wakeBudgetWaits } from "./money/budget-waits.ts";
import {
  AnswerToKeep,
  AnswerWanted,
  KeptAnswer,
  MAX_KEPT_AT_ONCE,
  keepAnswers,
  readKeptAnswer,
} from "./money/kept-answers.ts";
import { ProviderLimit } from "../contracts/provider-limit.ts";
import { SealedProviderKey, readProviderKeys } from "./money/provider-keys.ts";
import { readProviderLimits } from "./money/provider-limits.ts";
import { readModelPrices } from "./money/model-prices.ts";
import { CallToReserve, Reservation, releaseReservation, reserveInBudgets } from "./money/reserve.ts";
import { countRuns } from "./metrics/count-runs.ts";
import { CounterValue, MAX_VALUES, saveCounters } from "./metrics/counters.ts";
import {
  ClaimedRun,
  RunToHandBack,
  claimDirectly,
  claimRuns,
  handBack,
  readInput,
} from "./runs/claim-runs.ts";
import { DueRun, ScanBounds, ScanPosition, listDueRuns, readScanBounds } from "./runs/due-runs.ts";
import { OverdueRun, listOverdueRuns, reclaimFromSilent, reclaimOverdue } from "./runs/reclaim-runs.ts";
import { RunSnapshot, readRunSnapshots } from "./runs/run-snapshots.ts";
import { RunningRun, RunningRunPosition, listOwners, listRunningRuns } from "./runs/running-runs.ts";
import { SignalledRun } from "./runs/family.ts";
import { NewChild, ParentFence, StartedChild, cancelChild, startChild } from "./runs/start-child.ts";
import { SingletonRepairs, listSuccessors, repairSingletons } from "./runs/singletons.ts";
import { countWithoutWakeup } from "./runs/stuck-counts.ts";
import { Wait, readWaits } from "./runs/waits.ts";
import {
  ClaimedSchedules,
  FiredSchedule,
  TickStart,
  claimSchedules,
  saveFired,
  startTick,
} from "./schedules/fire-schedules.ts";
import {
  KeyUse,
  ResealedRow,
  SealedColumn,
  SealedPage,
  SealedPosition,
  readSealed,
  replaceSealed,
  saveKeyUses,
} from "./sealed/sealed-values.ts";
import type { Sql } from "./sql.ts";
import {
  ChangedLimits,
  LimitsPosition,
  listChangedLimits,
  raiseLimitVersions,
} from "./tenants/tenant-limits.ts";
import {
  BusyReceiver,
  ClaimedDeliveries,
  DueDelivery,
  Receiver,
  claimDeliveries,
} from "./webhooks/claim-deliveries.ts";
import {
  DeliveryState,
  TryResult,
  countDueDeliveries,
  releaseDeliveries,
  saveDeliveryTry,
} from "./webhooks/delivery-outcomes.ts";
import { NewMail } from "../contracts/mail.ts";
import { ClaimedMails, MailClaim, claimMails } from "./mails/claim-mails.ts";
import { readMailSender } from "./mails/mail-servers.ts";
import { queueMail } from "./mails/queue-mail.ts";
import { MailState, MailTry, saveMailTry } from "./mails/save-mail-try.ts";
import { readEvents } from "./webhooks/read-events.ts";
import { Beat, BeatReply, OwnedRun, beat } from "./workers/beats.ts";
import { takeLock } from "./workers/locks.ts";

/**
 * One operation of a worker on the store. Arguments and result are plain JSON, so that a verb can go over HTTP.
 *
 * `name` is the verb's key in StateStore and the last part of its path, below STATE_PATH.
 */
type Verb<Args extends unknown[], Result> = {
  name: string;
  args: z.ZodType<Args>;
  result: z.ZodType<Result>;
  run(this: void, sql: Sql, ...args: Args): Promise<Result>;
};

/** Makes a verb callable. Each implementation of StateStore has its own. */
export type Bind = <Args extends unknown[], Result>(
  verb: Verb<Args, Result>,
) => (...args: Args) => Promise<Result>;

const runIds = z.array(RunId).max(1_000);
const pageSize = z.number().int().min(1).max(1_000);
const slots = z.number().int().min(1).max(1_000);
/**
 * Every verb, each written once: everything that a worker needs of Postgres. `bind` decides how a verb reaches Postgres: see
 * state.ts.
 */
export function bindVerbs(bind: Bind) {
  return {
    claim: bind({
      name: "claim",
      args: z.tuple([Incarnation, runIds, z.number().int().optional()]),
      result: z.array(ClaimedRun),
      run: claimRuns,
    }),
    claimDirectly: bind({
      name: "claimDirectly",
      args: z.tuple([Incarnation, slots, z.array(Lane)]),
      result: z.array(ClaimedRun),
      run: claimDirectly,
    }),
    readInput: bind({
      name: "readInput",
      args: z.tuple([RunId]),
      result: z.string().nullable(),
      run: readInput,
    }),
    readStoredPage: bind({
      name: "readStoredPage",
      args: z.tuple([RunId, z.number().int(), z.number().int()]),
      result: StoredPage,
      run: readStoredPage,
    }),
    readRunSnapshots: bind({
      name: "readRunSnapshots",
      args: z.tuple([runIds]),
      result: z.array(RunSnapshot),
      run: readRunSnapshots,
    }),
    handBack: bind({
      name: "handBack",
      args: z.tuple([Incarnation, z.array(RunToHandBack)]),
      result: runIds,
      run: handBack,
    }),
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
    listSuccessors: bind({
      name: "listSuccessors",
      args: z.tuple([runIds]),
      result: z.array(DueRun),
      run: listSuccessors,
    }),
    repairSingletons: bind({
      name: "repairSingletons",
      args: z.tuple([]),
      result: SingletonRepairs,
      run: repairSingletons,
    }),
    claimSchedules: bind({
      name: "claimSchedules",
      args: z.tuple([z.number().int().min(1).max(100)]),
      result: ClaimedSchedules,
      run: claimSchedules,
    }),
    startTick: bind({
      name: "startTick",
      args: z.tuple([NewRun, z.enum(["queue", "postgres"])]),
      result: TickStart,
      run: startTick,
    }),
    saveFired: bind({
      name: "saveFired",
      args: z.tuple([z.array(FiredSchedule).max(100)]),
      result: z.null(),
      run: saveFired,
    }),
    readWaits: bind({
      name: "readWaits",
      args: z.tuple([RunId, z.array(z.string()).max(100)]),
      result: z.array(Wait),
      run: readWaits,
    }),
    startChild: bind({
      name: "startChild",
      args: z.tuple([ParentFence, NewChild]),
      result: StartedChild,
      run: startChild,
    }),
    cancelChild: bind({
      name: "cancelChild",
      args: z.tuple([RunId, RunId]),
      result: SignalledRun.nullable(),
      run: cancelChild,
    }),
    reserveInBudgets: bind({
      name: "reserveInBudgets",
      args: z.tuple([CallToReserve]),
      result: Reservation,
      run: reserveInBudgets,
    }),
    releaseReservation: bind({
      name: "releaseReservation",
      args: z.tuple([CallToReserve.pick({ run_id: true, call: true })]),
      result: z.null(),
      run: releaseReservation,
    }),
    wakeBudgetWaits: bind({
      name: "wakeBudgetWaits",
      args: z.tuple([]),
      result: z.array(WokenRun),
      run: wakeBudgetWaits,
    }),
    readModelPrices: bind({
      name: "readModelPrices",
      args: z.tuple([]),
      result: z.array(ModelPrice),
      run: readModelPrices,
    }),
    readCutText: bind({
      name: "readCutText",
      args: z.tuple([RunId, z.number().int(), z.string()]),
      result: z.string(),
      run: readCutText,
    }),
    readProviderLimits: bind({
      name: "readProviderLimits",
      args: z.tuple([]),
      result: z.array(ProviderLimit),
      run: readProviderLimits,
    }),
    readProviderKeys: bind({
      name: "readProviderKeys",
      args: z.tuple([TenantId]),
      result: z.array(SealedProviderKey),
      run: readProviderKeys,
    }),
    readKeptAnswer: bind({
      name: "readKeptAnswer",
      args: z.tuple([AnswerWanted]),
      result: KeptAnswer.nullable(),
      run: readKeptAnswer,
    }),
    keepAnswers: bind({
      name: "keepAnswers",
      args: z.tuple([z.array(AnswerToKeep).max(MAX_KEPT_AT_ONCE)]),
      result: z.null(),
      run: keepAnswers,
    }),
    beat: bind({
      name: "beat",
      args: z.tuple([Beat]),
      // An edge of a version that does not count silences sends the runs alone.
      result: z.union([
        BeatReply,
        z.array(OwnedRun).transform((owned) => ({ silences: null, drain: false, owned })),
      ]),
      run: beat,
    }),
    readPinnedDefinition: bind({
      name: "readPinnedDefinition",
      args: z.tuple([z.string(), z.string(), z.number().int()]),
      result: z.string().nullable(),
      run: readPinnedDefinition,
    }),
    readDefinition: bind({
      name: "readDefinition",
      args: z.tuple([z.enum(["agents", "tools"]), TenantId, z.string()]),
      result: StoredDefinition.omit({ id: true }).nullable(),
      run: readDefinition,
    }),
    readMcpServer: bind({
      name: "readMcpServer",
      args: z.tuple([TenantId, z.string()]),
      result: StoredMcpServer.nullable(),
      run: readMcpServer,
    }),
    readMcpVersions: bind({
      name: "readMcpVersions",
      args: z.tuple([z.array(McpServerName).max(500)]),
      result: z.array(McpServerVersion),
      run: readMcpVersions,
    }),
    claimMcpListings: bind({
      name: "claimMcpListings",
      args: z.tuple([z.number().int().min(1).max(100)]),
      result: z.array(StoredMcpServer),
      run: claimMcpListings,
    }),
    saveMcpListing: bind({
      name: "saveMcpListing",
      args: z.tuple([McpListed]),
      result: z.null(),
      run: saveMcpListing,
    }),
    saveMcpTask: bind({
      name: "saveMcpTask",
      args: z.tuple([McpTaskRow]),
      result: z.null(),
      run: saveMcpTask,
    }),
    forgetMcpTask: bind({
      name: "forgetMcpTask",
      args: z.tuple([RunId, z.string()]),
      result: z.null(),
      run: forgetMcpTask,
    }),
    claimEndedMcpTasks: bind({
      name: "claimEndedMcpTasks",
      args: z.tuple([]),
      result: z.array(EndedMcpTask),
      run: claimEndedMcpTasks,
    }),
    readChatHistory: bind({
      name: "readChatHistory",
      args: z.tuple([SessionId, z.string()]),
      result: ChatHistory,
      run: readChatHistory,
    }),
    saveChatSummary: bind({
      name: "saveChatSummary",
      args: z.tuple([SessionId, z.string(), Summary]),
      result: z.null(),
      run: saveChatSummary,
    }),
    readTurnText: bind({
      name: "readTurnText",
      args: z.tuple([RunId]),
      result: z.string(),
      run: readTurnText,
    }),
    wakeTurns: bind({
      name: "wakeTurns",
      args: z.tuple([SessionId.nullable()]),
      result: z.array(DueRun),
      run: wakeTurns,
    }),
    takeLock: bind({
      name: "takeLock",
      args: z.tuple([z.string(), z.string(), z.number()]),
      result: z.boolean(),
      run: takeLock,
    }),
    readScanBounds: bind({
      name: "readScanBounds",
      args: z.tuple([z.number().nullable()]),
      result: ScanBounds,
      run: readScanBounds,
    }),
    listDueRuns: bind({
      name: "listDueRuns",
      args: z.tuple([ScanPosition, z.string(), pageSize]),
      result: z.array(DueRun),
      run: listDueRuns,
    }),
    listRunningRuns: bind({
      name: "listRunningRuns",
      args: z.tuple([RunningRunPosition, pageSize]),
      result: z.array(RunningRun),
      run: listRunningRuns,
    }),
    listOwners: bind({
      name: "listOwners",
      args: z.tuple([]),
      result: z.array(z.object({ owner: z.string(), beat_at: z.string().nullable() })),
      run: listOwners,
    }),
    reclaimFromSilent: bind({
      name: "reclaimFromSilent",
      args: z.tuple([z.string(), z.string().nullable()]),
      result: z.array(DueRun),
      run: reclaimFromSilent,
    }),
    listOverdueRuns: bind({
      name: "listOverdueRuns",
      args: z.tuple([]),
      result: z.array(OverdueRun),
      run: listOverdueRuns,
    }),
    reclaimOverdue: bind({
      name: "reclaimOverdue",
      args: z.tuple([z.array(OverdueRun).max(1_000)]),
      result: z.array(DueRun),
      run: reclaimOverdue,
    }),
    takeStarts: bind({
      name: "takeStarts",
      args: z.tuple([LaneToStart]),
      result: StartsTaken,
      run: takeStarts,
    }),
    listChangedLimits: bind({
      name: "listChangedLimits",
      args: z.tuple([LimitsPosition, pageSize]),
      result: z.array(ChangedLimits),
      run: listChangedLimits,
    }),
    raiseLimitVersions: bind({
      name: "raiseLimitVersions",
      args: z.tuple([z.array(NewerLimits).max(1_000)]),
      result: z.number(),
      run: raiseLimitVersions,
    }),
    countWithoutWakeup: bind({
      name: "countWithoutWakeup",
      args: z.tuple([]),
      result: z.number(),
      run: countWithoutWakeup,
    }),
    claimDeliveries: bind({
      name: "claimDeliveries",
      args: z.tuple([
        z.number().int().min(1).max(100),
        z.array(BusyReceiver).max(1_000),
        Receiver.nullable(),
        z.boolean(),
      ]),
      result: ClaimedDeliveries,
      run: claimDeliveries,
    }),
    readEvents: bind({
      name: "readEvents",
      args: z.tuple([RunId, z.number().int()]),
      result: z.string().nullable(),
      run: readEvents,
    }),
    saveDeliveryTry: bind({
      name: "saveDeliveryTry",
      args: z.tuple([TryResult]),
      result: DeliveryState,
      run: saveDeliveryTry,
    }),
    releaseDeliveries: bind({
      name: "releaseDeliveries",
      args: z.tuple([z.array(DueDelivery.pick({ delivery_id: true, tries: true })).max(1_000)]),
      result: z.null(),
      run: async (sql, claimed) => {
        await releaseDeliveries(sql, claimed);
        return null;
      },
    }),
    queueMail: bind({ name: "queueMail", args: z.tuple([NewMail]), result: z.boolean(), run: queueMail }),
    readMailSender: bind({
      name: "readMailSender",
      args: z.tuple([RunId]),
      result: z.string().nullable(),
      run: readMailSender,
    }),
    claimMails: bind({
      name: "claimMails",
      args: z.tuple([MailClaim]),
      result: ClaimedMails,
      run: claimMails,
    }),
    saveMailTry: bind({
      name: "saveMailTry",
      args: z.tuple([MailTry]),
      result: MailState,
      run: saveMailTry,
    }),
    countDueDeliveries: bind({
      name: "countDueDeliveries",
      args: z.tuple([]),
      result: z.object({ due: z.number(), overdue: z.number() }),
      run: countDueDeliveries,
    }),
    countRuns: bind({
      name: "countRuns",
      args: z.tuple([]),
      result: z.boolean(),
      run: (sql) => countRuns(sql),
    }),
    saveCounters: bind({
      name: "saveCounters",
      args: z.tuple([Incarnation, z.array(CounterValue).max(MAX_VALUES)]),
      result: z.null(),
      run: saveCounters,
    }),
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
    readSealed: bind({
      name: "readSealed",
      args: z.tuple([SealedPosition]),
      result: SealedPage,
      run: readSealed,
    }),
    replaceSealed: bind({
      name: "replaceSealed",
      args: z.tuple([SealedColumn, z.array(ResealedRow).max(1_000)]),
      result: z.number().int(),
      run: replaceSealed,
    }),
    saveKeyUses: bind({
      name: "saveKeyUses",
      args: z.tuple([z.array(KeyUse).max(1_000), z.number()]),
      result: z.null(),
      run: saveKeyUses,
    }),
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
    deleteExpired: bind({
      name: "deleteExpired",
      args: z.tuple([]),
      result: z.boolean(),
      run: deleteExpired,
    }),
  };
}
