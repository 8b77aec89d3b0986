/** Samples Postgres during all faults: whether limits hold, whether runs move, and when the runs of dead workers are claimed. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { pgArray } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Evidence, LimitBreach, Takeover } from "./evidence.ts";
import type { FaultLog } from "./fault-log.ts";
import type { Points } from "./points.ts";
import { tenants } from "./tenants.ts";
import type { Death } from "./workers.ts";

const PERIOD_MS = 250;
/** docs/protocol.md 10: admissions after a rollback; claims have 5 s. */
const ROLLED_BACK_MS = 10_000;

/** The lock of a reconciler that dies lasts 15 s, and passes come every 5 s: until then no other rebuilds or scans. */
const LOCK_LEFT_MS = 20_000;

const Row = z.object({
  run_id: z.string(),
  tenant_id: z.string(),
  status: z.enum(["queued", "running", "paused"]),
  attempt: z.number(),
  owner: z.string().nullable(),
  event_seq: z.number(),
  due: z.boolean(),
  place: z.number(),
});
type Row = z.infer<typeof Row>;

/** A sample of a run, and for how long the run has not moved although it could. */
type Stall = { row: Row; ms: number };

export class PostgresWatch {
  readonly limitBreaches: LimitBreach[] = [];
  readonly takeovers: Takeover[] = [];
  readonly framesTooEarly: Evidence["framesTooEarly"] = [];
  /** Run → its longest stall. */
  readonly #longest = new Map<string, number>();
  readonly #sql: Sql;
  readonly #faults: FaultLog;
  readonly #deaths: readonly Death[];
  #stalls = new Map<string, Stall>();
  /** Tenants that may exceed a limit since Redis was rolled back, each until a sample shows it below its limit. */
  #excused = new Map<string, number>();
  #newestFrames = new Map<string, number>();
  #isRunning = true;
  samples = 0;

  constructor(sql: Sql, faults: FaultLog, deaths: readonly Death[]) {
    this.#sql = sql;
    this.#faults = faults;
    this.#deaths = deaths;
  }

  get stalls(): Evidence["stalls"] {
    return Array.from(this.#longest, ([run, ms]) => ({ run, ms }));
  }

  get open(): Row[] {
    return Array.from(this.#stalls.values(), ({ row }) => row);
  }

  stop(): void {
    this.#isRunning = false;
  }

  /** Redis was rolled back: for some seconds it may admit and lease too much. */
  rolledBack(): void {
    for (const { tenant_id } of tenants) this.#excused.set(tenant_id, Date.now());
  }

  /** A viewer has received a frame, which must have been committed by now. */
  noteFrame(run: string, seq: number): void {
    this.#newestFrames.set(run, Math.max(seq, this.#newestFrames.get(run) ?? 0));
  }

  async watch(): Promise<void> {
    let lastMs = performance.now();
    while (this.#isRunning) {
      try {
        await this.#compareFrames();
        const rows = await this.#read();
        const nowMs = performance.now();
        this.samples += 1;
        this.#checkLimits(rows);
        this.#followRuns(rows, this.#faults.blocked ? 0 : nowMs - lastMs);
        lastMs = nowMs;
      } catch {
        // Postgres is away: no sample is missed, as nothing moves meanwhile.
        lastMs = performance.now();
      }
      await sleep(PERIOD_MS);
    }
  }

  /** Records each point that is taken as a fault. */
  async watchPoints(points: Points): Promise<void> {
    const known = new Set<string>();
    for (; this.#isRunning; await sleep(PERIOD_MS)) {
      for (const { point, atMs } of points.hits()) {
        if (known.has(`${point} ${atMs}`)) continue;
        known.add(`${point} ${atMs}`);
        this.#faults.note("point", point, atMs, /^(rebuild|scan)_/.test(point) ? LOCK_LEFT_MS : 0);
      }
    }
  }

  async #read(): Promise<Row[]> {
    const sql = this.#sql;
    const rows = await sql`
      select run_id, tenant_id, status, attempt, owner, event_seq, wake_at <= now() as due,
        row_number() over (
          partition by tenant_id, status order by wake_at > now(), queued_at - priority * interval '1 minute'
        )::int as place
      from runs where status in ('queued', 'running', 'paused')`;
    return rows.map((row) => Row.parse(row));
  }

  async #compareFrames(): Promise<void> {
    const frames = this.#newestFrames;
    if (frames.size === 0) return;
    this.#newestFrames = new Map();
    const sql = this.#sql;
    const rows = await sql<{ run_id: string; event_seq: number }[]>`
      select run_id, event_seq from runs where run_id = any(${pgArray(frames.keys())}::text[])`;
    for (const { run_id, event_seq } of rows) {
      const seq = frames.get(run_id) ?? 0;
      if (seq > event_seq) this.framesTooEarly.push({ run: run_id, seq, committed: event_seq });
    }
  }

  #checkLimits(rows: Row[]): void {
    for (const { tenant_id, max_concurrent_runs, max_queued_runs } of tenants) {
      const tenantRows = rows.filter((row) => row.tenant_id === tenant_id);
      const running = tenantRows.filter(({ status }) => status === "running").length;
      // Runs that were claimed before came back without an admission.
      const queued = tenantRows.filter(({ status, attempt }) => status === "queued" && attempt === 0).length;
      // A claimed run leaves the queue in Redis first, and in Postgres a moment later (a lease later, if its worker dies).
      const mostQueued = max_queued_runs + max_concurrent_runs;
      const sinceMs = Date.now() - (this.#excused.get(tenant_id) ?? 0);
      const breaches: LimitBreach[] = [];
      const at = { tenant: tenant_id, atMs: Date.now() };
      if (running > max_concurrent_runs)
        breaches.push({ ...at, what: "running", count: running, limit: max_concurrent_runs });
      if (queued > mostQueued) breaches.push({ ...at, what: "queued", count: queued, limit: mostQueued });
      if (breaches.length === 0 && sinceMs > ROLLED_BACK_MS) this.#excused.delete(tenant_id);
      if (!this.#excused.has(tenant_id)) this.limitBreaches.push(...breaches);
    }
  }

  #followRuns(rows: Row[], countedMs: number): void {
    const running = Map.groupBy(
      rows.filter(({ status }) => status === "running"),
      ({ tenant_id }) => tenant_id,
    );
    const free = new Map(
      tenants.map((tenant) => [
        tenant.tenant_id as string,
        tenant.max_concurrent_runs - (running.get(tenant.tenant_id)?.length ?? 0),
      ]),
    );
    const next = new Map<string, Stall>();
    for (const row of rows) {
      const before = this.#stalls.get(row.run_id);
      if (before) this.#noteTakeover(before.row, row);
      // A run that waits for a slot of its tenant, or behind other runs of it, does not stall.
      const canMove = row.status === "running" || (row.due && row.place <= (free.get(row.tenant_id) ?? 0));
      const isStalled = before !== undefined && canMove && isSame(before.row, row);
      const ms = isStalled ? before.ms + countedMs : 0;
      next.set(row.run_id, { row, ms });
      if (ms > (this.#longest.get(row.run_id) ?? 0)) this.#longest.set(row.run_id, ms);
    }
    this.#stalls = next;
  }

  #noteTakeover(before: Row, now: Row): void {
    if (before.status !== "running" || (before.owner === now.owner && before.attempt === now.attempt)) return;
    const death = this.#deaths.find(({ incarnation }) => incarnation === before.owner);
    if (!death || now.owner === null) return;
    const atMs = Date.now();
    const meanwhile = this.#faults.between(death.atMs - 3_000, atMs);
    const calm = meanwhile.every(
      ({ kind, blocks }) => /^(kill|drain|freeze)$/.test(kind) || (kind === "point" && !blocks),
    );
    this.takeovers.push({ run: now.run_id, diedMs: death.atMs, ms: atMs - death.atMs, calm });
  }
}

function isSame(a: Row, b: Row): boolean {
  return (
    a.status === b.status && a.attempt === b.attempt && a.owner === b.owner && a.event_seq === b.event_seq
  );
}
