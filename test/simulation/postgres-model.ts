/**
 * The statements of shared/store in memory: each verb does atomically what its statement does, under the same conditions.
 * contract.test.ts compares both. Each condition that mutations.test.ts drops is a method, which the mutation overrides.
 */
import { REFERS_TO_EVENTS } from "../../shared/journal/records.ts";
import type { Kind } from "../../shared/store/definitions/stored-definition.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { StoredPage } from "../../shared/contracts/journal-entry.ts";
import { columnsOf } from "../../shared/store/journal/entry-columns.ts";
import type { EntryColumns } from "../../shared/store/journal/entry-columns.ts";
import type { NewEntry } from "../../shared/store/journal/new-entry.ts";
import type { ClaimedRun, RunToHandBack } from "../../shared/store/runs/claim-runs.ts";
import type { RunSnapshot } from "../../shared/store/runs/run-snapshots.ts";
import type { RunningRun } from "../../shared/store/runs/running-runs.ts";
import type { OverdueRun } from "../../shared/store/runs/reclaim-runs.ts";
import { NO_LIMIT } from "../../shared/queue/limits.ts";
import type { ChangedLimits } from "../../shared/store/tenants/tenant-limits.ts";
import type { DueRun } from "../../shared/store/runs/due-runs.ts";
import type { StateStore, VerbName } from "../../shared/store/state.ts";
import { CLAIM_DEADLINE_MS, SCAN_OVERLAP_MS, SILENCE_MARGIN_MS } from "../../shared/timing.ts";
import type { Wait } from "../../shared/store/runs/waits.ts";
import { roomOf } from "./edge-statements.ts";
import { abandonTrack, cancelChild, isCancelled, notifyFamily, startChild } from "./family-model.ts";
import { checkRow, Tables } from "./tables.ts";
import type { JournalRow, RunRow, TenantRow } from "./tables.ts";

/** The verbs of StateStore, which return at once. */
export type Args<Name extends VerbName> = Parameters<StateStore[Name]>;
export type Answer<Name extends VerbName> = Awaited<ReturnType<StateStore[Name]>>;
export type Statements = { [Name in VerbName]: (...args: Args<Name>) => Answer<Name> };

/** Definitions by id; agents and tools by kind and name. They never change in the simulation. */
export type Library = {
  orchestrations: ReadonlyMap<string, string>;
  named: ReadonlyMap<string, string>;
};

export class PostgresModel implements Statements {
  readonly tables = new Tables();
  readonly library: Library;
  readonly #now: () => number;
  startedAt: number;

  constructor(now: () => number, library: Library) {
    this.#now = now;
    this.library = library;
    this.startedAt = -Infinity;
  }

  get now(): number {
    return this.#now();
  }

  claim(owner: string, runs: readonly RunId[], silences?: number): ClaimedRun[] {
    const { now } = this;
    if (silences !== undefined && !this.hasNotBeenSilent(owner, silences)) return [];
    const claimed: ClaimedRun[] = [];
    for (const row of this.#rows(runs)) {
      const due = isWaiting(row) && (row.wake_at ?? 0) <= now + 2_000;
      const takeover = row.status === "running" && this.isSilent(row.owner);
      if (!due && !takeover) continue;
      Object.assign(row, {
        status: "running",
        owner,
        attempt: row.attempt + 1,
        deadline_at: now + CLAIM_DEADLINE_MS,
        started_at: row.started_at ?? now,
        paused_for: row.paused_for + (row.paused_at === null ? 0 : now - row.paused_at),
        paused_at: null,
        crash_count: row.crash_count + (takeover ? 1 : 0),
      });
      checkRow(row);
      claimed.push({ ...this.#claimedOf(row), takeover });
    }
    return claimed;
  }

  /** A worker without a beat for the time that it named, or since Postgres started. A restart of Postgres makes no worker silent. */
  isSilent(owner: string | null): boolean {
    return this.silentAt(owner) < this.now;
  }

  /** When a worker is silent, if it does not beat until then. */
  silentAt(owner: string | null): number {
    const worker = this.tables.workers.get(owner ?? "");
    return worker ? Math.max(worker.beat_at, this.startedAt) + worker.silent_after : -Infinity;
  }

  /** The worker beats, and was silent no more often than it knows. */
  hasNotBeenSilent(owner: string, silences: number): boolean {
    const worker = this.tables.workers.get(owner);
    return (
      worker?.silences === silences && worker.beat_at + worker.silent_after >= this.now + SILENCE_MARGIN_MS
    );
  }

  #silentInMs(owner: string | null): number {
    const at = this.silentAt(owner);
    return at === -Infinity ? 0 : at - this.now;
  }

  claimDirectly(owner: string, slots: number, lanes: readonly string[]): ClaimedRun[] {
    const isQueueReachable = [...this.tables.workers.values()].some(
      (worker) => worker.redis_ok && worker.beat_at + worker.silent_after >= this.now,
    );
    if (isQueueReachable) return [];
    const byWake = (a: RunRow, b: RunRow) =>
      (a.wake_at ?? 0) - (b.wake_at ?? 0) || compare(a.run_id, b.run_id);
    const isInLanes = (row: RunRow): boolean => lanes.includes(row.lane);
    const due = this.#all(
      (row) => isInLanes(row) && isWaiting(row) && (row.wake_at ?? 0) <= this.now,
    ).toSorted(byWake);
    const waiting = [...this.tables.tenants.values()].flatMap(({ tenant_id, max_concurrent_runs }) => {
      const free = Math.min(max_concurrent_runs - this.countOf(tenant_id, "running"), slots);
      return due.filter((row) => row.tenant_id === tenant_id).slice(0, Math.max(0, free));
    });
    const abandoned = this.#all(
      (row) => isInLanes(row) && row.status === "running" && this.isSilent(row.owner),
    ).toSorted(byWake);
    const candidates = [...abandoned.slice(0, slots), ...waiting];
    // How many runs the tenant holds in this worker when it has this one too.
    const held = (row: RunRow): number =>
      this.#all(
        (other) => other.status === "running" && other.owner === owner && other.tenant_id === row.tenant_id,
      ).length +
      candidates.filter(({ tenant_id }) => tenant_id === row.tenant_id).indexOf(row) +
      1;
    const ordered = candidates
      .map((row) => ({ row, held: held(row), takeover: row.status === "running" }))
      .toSorted((a, b) => Number(b.takeover) - Number(a.takeover) || a.held - b.held || byWake(a.row, b.row));
    return this.claim(
      owner,
      ordered.filter((candidate, number) => candidate.held <= slots - number).map(({ row }) => row.run_id),
    );
  }

  readInput(run: RunId): string | null {
    return this.tables.runs.get(run)?.input ?? null;
  }

  /** The rest of the journal as one page: no journal of the simulation is long. */
  readStoredPage(run: RunId, after: number, upto: number): StoredPage {
    const stored = this.tables
      .entriesOf(run)
      .filter(({ kind, seq }) => kind !== "note" && seq <= upto)
      .map(({ seq, kind, step_path, output, events, at = -Infinity }) => ({
        seq,
        kind,
        step_path,
        output,
        age_ms: kind === "park" ? this.now - at : null,
        events: output?.startsWith(REFERS_TO_EVENTS) ? events : null,
      }));
    const rewinds =
      after === 0
        ? stored
            .filter(({ kind }) => kind === "rewind")
            .map(({ seq, kind, output }) => ({ seq, kind, output }))
        : [];
    return { entries: stored.filter(({ seq }) => seq > after), more: false, rewinds };
  }

  readRunSnapshots(runs: readonly RunId[]): RunSnapshot[] {
    return this.#rows(runs).map((row) => ({
      ...nameOf(row),
      status: row.status,
      owner: row.owner,
      owner_silent: row.owner !== null && this.isSilent(row.owner),
      silent_in_ms: this.#silentInMs(row.owner),
      attempt: row.attempt,
      signals: row.signals,
      cancel: row.cancel_requested_at !== null,
      due_in_ms: row.wake_at === null ? 0 : row.wake_at - this.now,
    }));
  }

  handBack(owner: string, runs: readonly RunToHandBack[]): RunId[] {
    return runs.flatMap(({ run_id, attempt, delay_ms = 0 }) => {
      const row = this.tables.runs.get(run_id);
      if (!row || row.attempt !== attempt || row.owner !== owner || row.status !== "running") return [];
      this.#requeue(row, 0);
      row.wake_at = this.now + delay_ms;
      return [run_id];
    });
  }

  flush(entries: readonly NewEntry[]): Answer<"flush"> {
    // Ends first: a park whose relative ends in the same statement has missed a signal.
    const columns = entries
      .map(columnsOf)
      .toSorted((a, b) => Number(b.kind === "end") - Number(a.kind === "end"));
    const hasEnds = columns.some(({ kind }) => kind === "end");
    return columns.flatMap((entry) => {
      const row = this.tables.runs.get(entry.run_id);
      if (!row || !this.isFenceOf(row, entry) || !this.mayPark(row, entry)) return [];
      this.#commit(row, entry);
      const { run_id, event_seq, signals } = row;
      const notified = entry.kind === "end" ? this.notifyFamily(row, entry.output) : [];
      const cancel = row.cancel_requested_at !== null;
      // As json_agg: no relative is null, and a flush without an end has no such column.
      const endColumns = hasEnds ? { notified: notified.length === 0 ? null : notified } : {};
      return [{ run_id, event_seq, signals, cancel, webhook: false, frees_key: false, ...endColumns }];
    });
  }

  parentOf({ parent_run_id }: RunRow): RunRow | undefined {
    return parent_run_id === undefined ? undefined : this.tables.runs.get(parent_run_id);
  }

  /** A run has ended: its relatives are signalled in the same statement. */
  notifyFamily(ended: RunRow, output: string | null): ReturnType<typeof notifyFamily> {
    return notifyFamily(this, ended, output);
  }

  startChild(parent: Args<"startChild">[0], child: Args<"startChild">[1]): Answer<"startChild"> {
    const row = this.tables.runs.get(parent.run_id);
    const hasRoom =
      child.quota_checked_by === "queue" || (row !== undefined && roomOf(this, row.tenant_id) > 0);
    const isDefined = this.library.orchestrations.has(child.orchestration_id);
    return startChild(this, parent, child, { isDefined, hasRoom });
  }

  cancelChild(parent: RunId, child: RunId): Answer<"cancelChild"> {
    return cancelChild(this, parent, child);
  }

  abandonTrack(run: RunId, path: string): Answer<"abandonTrack"> {
    return abandonTrack(this, run, `${path}.`);
  }

  /** The fence of docs/protocol.md 6. */
  isFenceOf(row: RunRow, { attempt, owner, known_seq }: EntryColumns): boolean {
    return row.attempt === attempt && row.owner === owner && row.event_seq === known_seq;
  }

  /** A park is refused when more signals came than its worker had seen. */
  mayPark(row: RunRow, { signals }: EntryColumns): boolean {
    return signals === null || row.signals === signals;
  }

  #commit(row: RunRow, entry: EntryColumns): void {
    const { run_id, kind, step_path, visit, output, events, events_n, status, usage, dead_letter } = entry;
    const { earlier } = entry;
    if ([...earlier, entry].some((each) => each.events_n < 1))
      throw new Error(`an entry of ${run_id} at ${step_path} has no event`);
    for (const result of earlier) {
      row.event_seq += result.events_n;
      this.tables.write({ run_id, seq: row.event_seq, attempt: row.attempt, ...result });
    }
    const waits = status === "queued" || status === "paused";
    Object.assign(row, {
      event_seq: row.event_seq + events_n,
      deadline_at: this.now + entry.deadline_ms,
      step_count: row.step_count + entry.steps,
      tokens: row.tokens + sum(usage.map((call) => call.input_tokens + call.output_tokens)),
      cost_micro_usd: row.cost_micro_usd + sum(usage.map((call) => call.cost_micro_usd)),
      crash_count: kind === "step" || kind === "turn" || earlier.length > 0 ? 0 : row.crash_count,
      status: status ?? row.status,
      owner: status === null ? row.owner : null,
      wake_at: status === null ? row.wake_at : waits ? this.now + (entry.wake_ms ?? 0) : null,
      paused_at: status === "paused" ? this.now : null,
      ended_at: status === null || waits ? null : this.now,
      error: entry.error,
    });
    checkRow(row);
    const seq = row.event_seq;
    this.tables.write({
      run_id,
      seq,
      events_n,
      attempt: row.attempt,
      kind,
      step_path,
      visit,
      output,
      events,
      at: this.now,
    });
    this.#openWaits(entry);
    this.tables.usage.push(...usage.map((call) => ({ ...call, run_id, seq })));
    if (dead_letter) {
      this.tables.letters.push({
        run_id,
        seq,
        code: dead_letter.code,
        attempt: row.attempt,
        resolved: false,
      });
    }
  }

  /** A wait that exists stays as it is, unless it is open and goes to a further group. */
  #openWaits({ run_id, waits }: EntryColumns): void {
    const known = new Map(this.tables.waitsOf(run_id).map((wait) => [wait.wait_id, wait]));
    for (const { wait_id, kind, deadline_ms, child_run_id, level = 0 } of waits) {
      const wait = known.get(wait_id);
      if (wait) {
        if (wait.answered_by === null) wait.level = Math.max(wait.level, level);
        continue;
      }
      const deadline_at = deadline_ms === null ? null : this.now + deadline_ms;
      const childPart = child_run_id === null ? {} : { child_run_id };
      const open = { opened_at: this.now, deadline_at, answer: null, answered_by: null, level, ...childPart };
      this.tables.waits.push({ run_id, wait_id, kind, ...open });
    }
  }

  readWaits(run: RunId, waitIds: readonly string[]): Wait[] {
    const { now } = this;
    return this.tables
      .waitsOf(run)
      .filter(({ wait_id }) => waitIds.includes(wait_id))
      .map((wait): Wait => {
        const { wait_id, kind, deadline_at, opened_at, answer, level } = wait;
        if (deadline_at !== null && deadline_at <= now) wait.answered_by ??= this.closedBy();
        const { answered_by } = wait;
        const isClosed = ["deadline", "retry", "branch"].includes(answered_by ?? "");
        const state = answered_by === null ? "open" : isClosed ? "expired" : "answered";
        const due_in_ms = deadline_at === null ? null : deadline_at - now;
        return {
          wait_id,
          kind,
          child_run_id: wait.child_run_id ?? null,
          child_usage: this.#usageOf(wait.child_run_id),
          state,
          due_in_ms,
          open_for_ms: now - opened_at,
          answer,
          answered_by,
          level,
          prompt: "?",
          person: null,
          votes: [],
        };
      })
      .toSorted((a, b) => compare(a.wait_id, b.wait_id));
  }

  #usageOf(run: RunId | undefined): Wait["child_usage"] {
    if (run === undefined) return null;
    const calls = this.tables.usage.filter(({ run_id }) => run_id === run);
    return {
      input_tokens: sum(calls.map((call) => call.input_tokens)),
      output_tokens: sum(calls.map((call) => call.output_tokens)),
      cost_micro_usd: sum(calls.map((call) => call.cost_micro_usd)),
      estimated: calls.some((call) => call.estimated),
    };
  }

  /** What closes a wait after its deadline: no answer is accepted any more. */
  closedBy(): string | null {
    return "deadline";
  }

  findCommitted(entries: Args<"findCommitted">[0]): RunId[] {
    return entries.flatMap(({ run_id, seq, attempt }) => {
      const isSame = (entry: JournalRow) => entry.seq === seq && entry.attempt === attempt;
      return this.tables.entriesOf(run_id).some(isSame) ? [run_id] : [];
    });
  }

  beat({ incarnation, redis_ok, silent_after_ms, voids_claims }: Args<"beat">[0]): Answer<"beat"> {
    const before = this.tables.workers.get(incarnation);
    const wasSilent =
      before !== undefined &&
      (voids_claims === true || before.beat_at + before.silent_after < this.now + SILENCE_MARGIN_MS);
    const silences = (before?.silences ?? 0) + (wasSilent ? 1 : 0);
    this.tables.workers.set(incarnation, {
      beat_at: this.now,
      redis_ok,
      silences,
      silent_after: silent_after_ms,
    });
    const owned = this.#all((row) => row.owner === incarnation).map(
      ({ run_id, tenant_id, attempt, signals, cancel_requested_at }) => ({
        run_id,
        tenant_id,
        traceparent: null,
        attempt,
        signals,
        cancel: cancel_requested_at !== null,
        has_budget: false,
      }),
    );
    return { silences, drain: false, lanes: {}, settings: [], owned };
  }

  /** Runs of a simulation have no budgets. */
  reserveInBudgets(): Answer<"reserveInBudgets"> {
    return { outcome: "free" };
  }

  releaseReservation(): null {
    return null;
  }

  wakeBudgetWaits(): Answer<"wakeBudgetWaits"> {
    return [];
  }

  /** No step of the simulation keeps answers. */
  readKeptAnswer(): Answer<"readKeptAnswer"> {
    return null;
  }

  keepAnswers(): null {
    return null;
  }

  /** The models of a simulation stream no text. */
  readCutText(): string {
    return "";
  }

  readProviderLimits(): Answer<"readProviderLimits"> {
    return [];
  }

  readProviderKeys(): Answer<"readProviderKeys"> {
    return [];
  }

  readModelPrices(): Answer<"readModelPrices"> {
    return [];
  }

  takeStarts(): Answer<"takeStarts"> {
    throw new Error("no lane of the simulation has a rate");
  }

  readPinnedDefinition(_tenant: string, id: string, _version: number): string | null {
    return this.library.orchestrations.get(id) ?? null;
  }

  /** Runs of a simulation have no MCP servers. */
  readMcpServer(): null {
    return null;
  }

  /** No run of the simulation has a singleton key. */
  listSuccessors(): [] {
    return [];
  }

  repairSingletons(): Answer<"repairSingletons"> {
    return { handedOver: 0, superseded: 0 };
  }

  /** No tenant of the simulation has a schedule. */
  claimSchedules(): Answer<"claimSchedules"> {
    return { schedules: [], now_ms: this.now, next_ms: null };
  }

  startTick(): Answer<"startTick"> {
    return { is: "missed", reason: "not_found" };
  }

  saveFired(): null {
    return null;
  }

  readMcpVersions(): [] {
    return [];
  }

  claimMcpListings(): [] {
    return [];
  }

  saveMcpListing(): null {
    return null;
  }

  saveMcpTask(): null {
    return null;
  }

  forgetMcpTask(): null {
    return null;
  }

  claimEndedMcpTasks(): [] {
    return [];
  }

  readDefinition(kind: Kind, _tenant: string, id: string): Answer<"readDefinition"> {
    const definition = this.library.named.get(`${kind} ${id}`);
    return definition === undefined ? null : { owner: "", version: 1, definition };
  }

  takeLock(name: string, holder: string, ms: number): boolean {
    const lock = this.tables.locks.get(name);
    if (lock && lock.holder !== holder && lock.until >= this.now) return false;
    this.tables.locks.set(name, { holder, until: this.now + ms });
    return true;
  }

  readScanBounds(uptoMs: number | null): Answer<"readScanBounds"> {
    const until_ms = this.now - 2_000;
    const from = uptoMs === null ? -Infinity : Math.min(uptoMs, this.now) - this.overlapMs();
    const server = timeText(this.startedAt);
    return { from: timeText(from), until: timeText(until_ms), until_ms, now_ms: this.now, server };
  }

  /** A scan begins that much earlier than the last one ended, to find runs that were committed late or out of order. */
  overlapMs(): number {
    return SCAN_OVERLAP_MS;
  }

  listDueRuns(after: Args<"listDueRuns">[0], until: string, limit: number): DueRun[] {
    const from = readTime(after.at);
    return this.#all(isWaiting)
      .map((row) => this.#waitingOf(row))
      .filter((run) => {
        const at = readTime(run.wake_at);
        if (at > readTime(until)) return false;
        return at > from || (at === from && run.run_id > after.run_id);
      })
      .toSorted((a, b) => readTime(a.wake_at) - readTime(b.wake_at) || compare(a.run_id, b.run_id))
      .slice(0, limit);
  }

  listRunningRuns(after: Args<"listRunningRuns">[0], limit: number): RunningRun[] {
    return this.#all((row) => row.status === "running")
      .map((row) => ({
        ...nameOf(row),
        owner: row.owner ?? "",
        owner_silent: this.isSilent(row.owner),
        silent_in_ms: this.#silentInMs(row.owner),
      }))
      .filter((run) => run.owner > after.owner || (run.owner === after.owner && run.run_id > after.run_id))
      .toSorted((a, b) => compare(a.owner, b.owner) || compare(a.run_id, b.run_id))
      .slice(0, limit);
  }

  listOwners(): Answer<"listOwners"> {
    const running = this.#all((row) => row.status === "running");
    return [...new Set(running.map((row) => row.owner ?? ""))].map((owner) => {
      const worker = this.tables.workers.get(owner);
      return { owner, beat_at: worker ? timeText(worker.beat_at) : null };
    });
  }

  reclaimFromSilent(owner: string, observedBeat: string | null): DueRun[] {
    const worker = this.tables.workers.get(owner);
    if (worker && (observedBeat === null || worker.beat_at !== readTime(observedBeat))) return [];
    return this.#all((row) => row.owner === owner).map((row) => this.#requeue(row, 1));
  }

  listOverdueRuns(): OverdueRun[] {
    return this.#all((row) => row.status === "running" && (row.deadline_at ?? 0) < this.now).map(
      ({ run_id, attempt, event_seq, deadline_at }) => ({
        run_id,
        attempt,
        event_seq,
        deadline_at: timeText(deadline_at ?? 0),
      }),
    );
  }

  reclaimOverdue(observed: readonly OverdueRun[]): DueRun[] {
    return observed.flatMap(({ run_id, attempt, event_seq, deadline_at }) => {
      const row = this.tables.runs.get(run_id);
      const same =
        row?.status === "running" &&
        row.attempt === attempt &&
        row.event_seq === event_seq &&
        row.deadline_at === readTime(deadline_at);
      return same ? [this.#requeue(row, 1)] : [];
    });
  }

  raiseLimitVersions(newer: Args<"raiseLimitVersions">[0]): number {
    const raised = newer.flatMap(({ tenant, version }) => {
      const row = this.tables.tenants.get(tenant);
      return row && row.version < version ? [{ row, version }] : [];
    });
    for (const { row, version } of raised) {
      row.version = version + 1;
      row.updated_at = this.now;
    }
    return raised.length;
  }

  listChangedLimits(after: Args<"listChangedLimits">[0], limit: number): ChangedLimits[] {
    const from = readTime(after.at);
    return [...this.tables.tenants.values()]
      .filter((row) => row.updated_at > from || (row.updated_at === from && row.tenant_id > after.tenant))
      .toSorted((a, b) => a.updated_at - b.updated_at || compare(a.tenant_id, b.tenant_id))
      .slice(0, limit)
      .map(limitsOf);
  }

  countWithoutWakeup(): number {
    const hasNoWakeup = ({ status, owner, wake_at, deadline_at }: RunRow): boolean => {
      const lastBeatAt = Math.max(this.tables.workers.get(owner ?? "")?.beat_at ?? -Infinity, this.startedAt);
      if (status === "running")
        return (deadline_at ?? 0) < this.now - 60_000 || lastBeatAt < this.now - 90_000;
      return status === "paused" && (wake_at ?? 0) < this.now - 60_000;
    };
    return this.#all(hasNoWakeup).length;
  }

  /** No run of the simulation is a chat turn. */
  readChatHistory(): Answer<"readChatHistory"> {
    return { summary: null, messages: [] };
  }

  saveChatSummary(): null {
    return null;
  }

  readTurnText(): string {
    return "";
  }

  wakeTurns(): DueRun[] {
    return [];
  }

  /** No run of the simulation has a webhook: deliveries are not part of the core. */
  claimDeliveries(): Answer<"claimDeliveries"> {
    return { deliveries: [], after: null, missed: 0, expired: 0, withdrawn: 0 };
  }

  readEvents(): null {
    return null;
  }

  saveDeliveryTry(): Answer<"saveDeliveryTry"> {
    return "superseded";
  }

  releaseDeliveries(): null {
    return null;
  }

  /** No run of the simulation sends a mail. */
  queueMail(): Answer<"queueMail"> {
    return false;
  }

  readMailSender(): Answer<"readMailSender"> {
    return null;
  }

  claimMails(): Answer<"claimMails"> {
    return { mails: [], after: "" };
  }

  endMail(): Answer<"endMail"> {
    return false;
  }

  saveMailTry(): Answer<"saveMailTry"> {
    return "superseded";
  }

  countDueDeliveries(): Answer<"countDueDeliveries"> {
    return { due: 0, overdue: 0 };
  }

  /** Metrics are not part of the core. */
  countRuns(): boolean {
    return false;
  }

  saveCounters(): null {
    return null;
  }

  /** The workers of the simulation have no object store. */
  readRunFiles(): Answer<"readRunFiles"> {
    return { session_id: null, max_bytes: 0, own_files: 0, own_bytes: 0, files: [] };
  }

  reserveFile(): Answer<"reserveFile"> {
    return { accepted: false, used: 0, most: 0 };
  }

  readSweep(): null {
    return null;
  }

  saveSweep(_page: unknown): null {
    return null;
  }

  findOrphans(): [] {
    return [];
  }

  takeExpiredUploads(): [] {
    return [];
  }

  forgetUploads(): null {
    return null;
  }

  /** No run of the model has a secret. */
  readSealed(_after: unknown): Answer<"readSealed"> {
    return { rows: [], next: null };
  }

  replaceSealed(..._rows: unknown[]): number {
    return 0;
  }

  saveKeyUses(..._uses: unknown[]): null {
    return null;
  }

  takeExpiredObjects(): [] {
    return [];
  }

  // Nothing is archived in the time of a simulation.
  queueEndedRuns(): boolean {
    return false;
  }

  claimJournals(): null {
    return null;
  }

  readJournals(): [] {
    return [];
  }

  recordSegment(): number {
    return 0;
  }

  postponeJournals(): null {
    return null;
  }

  readArchivePlace(): null {
    return null;
  }

  takeUnusedSegments(): [] {
    return [];
  }

  forgetSegments(): null {
    return null;
  }

  /** No history lasts until a retention. */
  deleteExpired(): boolean {
    return false;
  }

  countOf(tenant: string, status: RunRow["status"]): number {
    return this.#all((row) => row.tenant_id === tenant && row.status === status).length;
  }

  #rows(runs: readonly RunId[]): RunRow[] {
    return runs.flatMap((run) => this.tables.runs.get(run) ?? []);
  }

  #all(which: (row: RunRow) => boolean): RunRow[] {
    return [...this.tables.runs.values()].filter(which);
  }

  #requeue(row: RunRow, crashes: 0 | 1): DueRun {
    const { now } = this;
    Object.assign(row, {
      status: "queued",
      owner: null,
      wake_at: now,
      crash_count: row.crash_count + crashes,
    });
    checkRow(row);
    return this.#waitingOf(row);
  }

  #waitingOf(row: RunRow): DueRun {
    const wake_at = row.wake_at ?? 0;
    const status = row.status === "paused" ? "paused" : "queued";
    return { ...nameOf(row), status, wake_at: timeText(wake_at), late_ms: this.now - wake_at };
  }

  #claimedOf(row: RunRow): Omit<ClaimedRun, "takeover"> {
    const { correlation_id, attempt, event_seq, signals, crash_count, cost_micro_usd, journal_bytes } = row;
    return {
      ...nameOf(row),
      correlation_id,
      // No input of the simulation is long.
      input: row.input,
      attempt,
      event_seq,
      signals,
      crash_count,
      cost_micro_usd,
      journal_bytes,
      has_budget: false,
      orchestration_id: row.orchestration_id,
      definition_tenant: row.tenant_id,
      definition_version: 1,
      chat_session: null,
      traceparent: null,
      cancel: isCancelled(this, row),
      cost_limit_micro_usd: row.cost_limit_micro_usd ?? null,
      time_limit_ms: row.time_limit_ms ?? null,
      running_for_ms: this.now - (row.started_at ?? this.now) - row.paused_for,
    };
  }
}

function isWaiting(row: RunRow): boolean {
  return row.status === "queued" || row.status === "paused";
}

function nameOf({ run_id, tenant_id, lane, priority, queued_at }: RunRow) {
  return { run_id, tenant_id, lane, priority, queued_at_ms: queued_at };
}

function limitsOf(row: TenantRow): ChangedLimits {
  return {
    tenant: row.tenant_id,
    version: row.version,
    maxConcurrentRuns: row.max_concurrent_runs,
    maxQueuedRuns: row.max_queued_runs,
    requestsPerSecond: 1_000,
    weight: 1,
    runsPerMinute: NO_LIMIT,
    disabled: false,
    updated_at: timeText(row.updated_at),
  };
}

/** Postgres returns times as text. */
function timeText(ms: number): string {
  return ms === -Infinity ? "-infinity" : new Date(ms).toISOString();
}

function readTime(at: string): number {
  if (at === "infinity") return Infinity;
  return at === "-infinity" ? -Infinity : Date.parse(at);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
