/** Models of Postgres, each without one condition: the tests of simulation and contract must fail with them. */
import type { RunId } from "../../shared/contracts/ids.ts";
import { z } from "zod";
import type { EntryColumns } from "../../shared/store/journal/entry-columns.ts";
import type { SignalledRun } from "../../shared/store/runs/family.ts";
import type { StoredPage } from "../../shared/contracts/journal-entry.ts";
import type { Wait } from "../../shared/store/runs/waits.ts";
import { PostgresModel } from "./postgres-model.ts";
import type { RunRow } from "./tables.ts";

export class OwnerNotInFence extends PostgresModel {
  override isFenceOf(row: RunRow, { attempt, known_seq }: EntryColumns): boolean {
    return row.attempt === attempt && row.event_seq === known_seq;
  }
}

export class EventSeqNotInFence extends PostgresModel {
  override isFenceOf(row: RunRow, { attempt, owner }: EntryColumns): boolean {
    return row.attempt === attempt && row.owner === owner;
  }
}

export class SignalsNotInPark extends PostgresModel {
  override mayPark(): boolean {
    return true;
  }
}

export class TakesOverFromLiveOwners extends PostgresModel {
  override isSilent(): boolean {
    return true;
  }
}

export class SilencesNotCompared extends PostgresModel {
  override hasNotBeenSilent(): boolean {
    return true;
  }
}

export class ScanWithoutOverlap extends PostgresModel {
  override overlapMs(): number {
    return 0;
  }
}

export class DeadlineLeavesQuestionOpen extends PostgresModel {
  override readWaits(run: RunId, waitIds: readonly string[]): Wait[] {
    return super.readWaits(run, waitIds).map((wait): Wait => {
      const isOver = wait.state === "open" && wait.due_in_ms !== null && wait.due_in_ms <= 0;
      return isOver ? { ...wait, state: "expired" } : wait;
    });
  }
  override closedBy(): null {
    return null;
  }
}

/** A worker that goes on with a run reads the entries of each branch as those of the next one. */
export class BranchesMixedUp extends PostgresModel {
  override readStoredPage(...args: Parameters<PostgresModel["readStoredPage"]>): StoredPage {
    const page = super.readStoredPage(...args);
    return {
      ...page,
      entries: page.entries.map((entry) => ({ ...entry, output: inOtherBranch(entry.output) })),
    };
  }
}

const InBranch = z.looseObject({ track: z.array(z.number()).min(1) });

function inOtherBranch(output: string | null): string | null {
  const record = InBranch.safeParse(JSON.parse(output ?? "null"));
  if (!record.success) return output;
  const [branch = 0, ...inner] = record.data.track;
  return JSON.stringify({ ...record.data, track: [(branch + 1) % 2, ...inner] });
}

/** The end of a child answers the wait of its parent, and does not make the parent due. */
export class ParentNotSignalled extends PostgresModel {
  override notifyFamily(ended: RunRow, output: string | null): SignalledRun[] {
    const parent = this.parentOf(ended);
    const before = { ...parent };
    const notified = super.notifyFamily(ended, output);
    if (parent) Object.assign(parent, before);
    return notified.filter(({ run_id }) => run_id !== ended.parent_run_id);
  }
}

/** The end of a child wakes its parent once more, also when the parent has ended. */
export class ParentWokenAfterItsEnd extends PostgresModel {
  override notifyFamily(ended: RunRow, output: string | null): SignalledRun[] {
    const parent = this.parentOf(ended);
    if (parent && parent.ended_at !== null)
      Object.assign(parent, { status: "queued", ended_at: null, wake_at: this.now });
    return super.notifyFamily(ended, output);
  }
}
