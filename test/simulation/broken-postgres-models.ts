/** Models of Postgres, each without one condition: the tests of simulation and contract must fail with them. */
import type { RunId } from "../../shared/contracts/ids.ts";
import type { EntryColumns } from "../../shared/store/journal/entry-columns.ts";
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
