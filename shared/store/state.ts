import { z } from "zod";
import { Incarnation, RunId, TenantId } from "../contracts/ids.ts";
import { ClaimedRun, RunLook, claimDirectly, claimRuns, handBack, lookUp, readPinned } from "./runs/claim.ts";
import { Lane } from "../contracts/run.ts";
import { readDefinition } from "./definitions/definitions.ts";
import { flush } from "./journal/flush.ts";
import { NewEntry } from "./journal/new-entry.ts";
import { findCommitted } from "./journal/read-journal.ts";
import { takeLock } from "./workers/locks.ts";
import {
  RunningRun,
  OverdueRun,
  TenantLimits,
  WaitingRun,
  ScanPosition,
  changedLimits,
  dueRuns,
  deleteExpired,
  overdueRuns,
  listOwners,
  runningRuns,
  reclaimFromSilent,
  reclaimOverdue,
  ScanBounds,
  scanBounds,
  countWithoutWakeup,
} from "./runs/reconcile.ts";
import {
  BusyReceiver,
  ClaimedDeliveries,
  DueDelivery,
  Receiver,
  claimDeliveries,
  readEvents,
} from "./webhooks/claim-deliveries.ts";
import {
  DeliveryState,
  TryResult,
  countDueDeliveries,
  releaseDeliveries,
  saveTry,
} from "./webhooks/sending.ts";
import type { Sql } from "./sql.ts";
import { Wait, readWaits } from "./runs/waits.ts";
import { Beat, OwnedRun, beat } from "./workers/workers.ts";

/** One thing that a worker asks of the truth: its arguments and answer are plain JSON, so that it may go by HTTP. */
type Verb<Args extends unknown[], Result> = {
  args: z.ZodType<Args>;
  result: z.ZodType<Result>;
  run(sql: Sql, ...args: Args): Promise<Result>;
  /** `run` for arguments that nobody has looked at yet. */
  answer(this: void, sql: Sql, args: unknown): Promise<unknown>;
};

function verb<Args extends unknown[], Result>(
  args: z.ZodType<Args>,
  result: z.ZodType<Result>,
  run: (sql: Sql, ...args: Args) => Promise<Result>,
): Verb<Args, Result> {
  return { args, result, run, answer: (sql, given) => run(sql, ...args.parse(given)) };
}

const runIds = z.array(RunId).max(1_000);
const pageSize = z.number().int().min(1).max(1_000);
const nothing = z.null();
const Committed = z.object({
  run_id: RunId,
  event_seq: z.number(),
  signals: z.number(),
  cancel: z.boolean(),
  // An edge of before there were webhooks does not say.
  webhook: z.boolean().default(false),
});
const Stored = z.object({ owner: z.string(), version: z.number(), definition: z.string() });

/** Everything a worker may ask, by name: the whole of what it needs of Postgres. */
const verbs = {
  claim: verb(z.tuple([Incarnation, runIds]), z.array(ClaimedRun), claimRuns),
  claimDirectly: verb(
    z.tuple([Incarnation, z.number().int().min(1).max(1_000), z.array(Lane)]),
    z.array(ClaimedRun),
    claimDirectly,
  ),
  lookUp: verb(z.tuple([runIds]), z.array(RunLook), lookUp),
  handBack: verb(
    z.tuple([Incarnation, z.array(z.object({ run_id: RunId, attempt: z.number().int() }))]),
    runIds,
    handBack,
  ),
  flush: verb(z.tuple([z.array(NewEntry).max(256)]), z.array(Committed), async (sql, entries) => [
    ...(await flush(sql, entries)),
  ]),
  findCommitted: verb(
    z.tuple([z.array(z.object({ run_id: RunId, seq: z.number().int(), attempt: z.number().int() }))]),
    runIds,
    findCommitted,
  ),
  readWaits: verb(z.tuple([RunId, z.array(z.string()).max(100)]), z.array(Wait), readWaits),
  beat: verb(z.tuple([Beat]), z.array(OwnedRun), async (sql, worker) => [...(await beat(sql, worker))]),
  orchestration: verb(z.tuple([z.string(), z.string(), z.number().int()]), z.string().nullable(), readPinned),
  definition: verb(
    z.tuple([z.enum(["agents", "tools"]), TenantId, z.string()]),
    Stored.nullable(),
    readDefinition,
  ),
  takeLock: verb(z.tuple([z.string(), z.string(), z.number()]), z.boolean(), takeLock),
  scanBounds: verb(z.tuple([z.number().nullable()]), ScanBounds, scanBounds),
  dueRuns: verb(z.tuple([ScanPosition, z.string(), pageSize]), z.array(WaitingRun), dueRuns),
  runningRuns: verb(
    z.tuple([z.object({ owner: z.string(), run_id: z.string() }), pageSize]),
    z.array(RunningRun),
    runningRuns,
  ),
  listOwners: verb(
    z.tuple([]),
    z.array(z.object({ owner: z.string(), beat_at: z.string().nullable() })),
    listOwners,
  ),
  reclaimFromSilent: verb(
    z.tuple([z.string(), z.string().nullable()]),
    z.array(WaitingRun),
    reclaimFromSilent,
  ),
  overdueRuns: verb(z.tuple([]), z.array(OverdueRun), overdueRuns),
  reclaimOverdue: verb(z.tuple([z.array(OverdueRun).max(1_000)]), z.array(WaitingRun), reclaimOverdue),
  changedLimits: verb(
    z.tuple([z.object({ at: z.string(), tenant: z.string() }), pageSize]),
    z.array(TenantLimits),
    changedLimits,
  ),
  countWithoutWakeup: verb(z.tuple([]), z.number(), countWithoutWakeup),
  claimDeliveries: verb(
    z.tuple([
      z.number().int().min(1).max(100),
      z.array(BusyReceiver).max(1_000),
      Receiver.nullable(),
      z.boolean(),
    ]),
    ClaimedDeliveries,
    claimDeliveries,
  ),
  readEvents: verb(z.tuple([RunId, z.number().int()]), z.string().nullable(), readEvents),
  saveTry: verb(z.tuple([TryResult]), DeliveryState, saveTry),
  releaseDeliveries: verb(
    z.tuple([z.array(DueDelivery.pick({ delivery_id: true, tries: true })).max(1_000)]),
    nothing,
    async (sql, claimed) => {
      await releaseDeliveries(sql, claimed);
      return null;
    },
  ),
  countDueDeliveries: verb(
    z.tuple([]),
    z.object({ due: z.number(), overdue: z.number() }),
    countDueDeliveries,
  ),
  deleteExpired: verb(z.tuple([]), z.boolean(), deleteExpired),
};

type Verbs = typeof verbs;
export type VerbName = keyof Verbs;

/** The truth, as workers see it. Two bodies: Postgres itself, and the edge's internal route in front of it. */
export type StateStore = {
  [Name in VerbName]: (...args: z.output<Verbs[Name]["args"]>) => Promise<z.output<Verbs[Name]["result"]>>;
};

type Call = <Args extends unknown[], Result>(
  name: VerbName,
  verb: Verb<Args, Result>,
  args: Args,
) => Promise<Result>;

function bind(call: Call): StateStore {
  return {
    claim: (...args) => call("claim", verbs.claim, args),
    claimDirectly: (...args) => call("claimDirectly", verbs.claimDirectly, args),
    lookUp: (...args) => call("lookUp", verbs.lookUp, args),
    handBack: (...args) => call("handBack", verbs.handBack, args),
    flush: (...args) => call("flush", verbs.flush, args),
    findCommitted: (...args) => call("findCommitted", verbs.findCommitted, args),
    readWaits: (...args) => call("readWaits", verbs.readWaits, args),
    beat: (...args) => call("beat", verbs.beat, args),
    orchestration: (...args) => call("orchestration", verbs.orchestration, args),
    definition: (...args) => call("definition", verbs.definition, args),
    takeLock: (...args) => call("takeLock", verbs.takeLock, args),
    scanBounds: (...args) => call("scanBounds", verbs.scanBounds, args),
    dueRuns: (...args) => call("dueRuns", verbs.dueRuns, args),
    runningRuns: (...args) => call("runningRuns", verbs.runningRuns, args),
    listOwners: (...args) => call("listOwners", verbs.listOwners, args),
    reclaimFromSilent: (...args) => call("reclaimFromSilent", verbs.reclaimFromSilent, args),
    overdueRuns: (...args) => call("overdueRuns", verbs.overdueRuns, args),
    reclaimOverdue: (...args) => call("reclaimOverdue", verbs.reclaimOverdue, args),
    changedLimits: (...args) => call("changedLimits", verbs.changedLimits, args),
    countWithoutWakeup: (...args) => call("countWithoutWakeup", verbs.countWithoutWakeup, args),
    claimDeliveries: (...args) => call("claimDeliveries", verbs.claimDeliveries, args),
    readEvents: (...args) => call("readEvents", verbs.readEvents, args),
    saveTry: (...args) => call("saveTry", verbs.saveTry, args),
    releaseDeliveries: (...args) => call("releaseDeliveries", verbs.releaseDeliveries, args),
    countDueDeliveries: (...args) => call("countDueDeliveries", verbs.countDueDeliveries, args),
    deleteExpired: (...args) => call("deleteExpired", verbs.deleteExpired, args),
  };
}

/** How a question is put to Postgres: with which connection, and for how long. */
export type RunQuery = <Answer>(question: (sql: Sql) => Promise<Answer>) => Promise<Answer>;

/** The truth, asked directly, in the caller's own way. */
export function stateStoreBy(ask: RunQuery): StateStore {
  return bind((_name, { run }, args) => ask((sql) => run(sql, ...args)));
}

/** The truth, asked directly. */
export function stateStore(sql: Sql): StateStore {
  return stateStoreBy((question) => question(sql));
}

/** The truth, asked through the edge: `post` sends a verb's arguments and answers its JSON. */
export function remoteStateStore(post: (name: VerbName, args: unknown[]) => Promise<unknown>): StateStore {
  return bind(async (name, { result }, args) => result.parse(await post(name, args)));
}

/** A verb that came by HTTP, ready to be run; null when there is none of that name. It throws a ZodError for wrong arguments. */
export function findVerb(name: string): ((sql: Sql, args: unknown) => Promise<unknown>) | null {
  return isVerb(name) ? verbs[name].answer : null;
}

function isVerb(name: string): name is VerbName {
  return Object.hasOwn(verbs, name);
}
