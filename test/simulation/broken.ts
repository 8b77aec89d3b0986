/** Postgres without one of its conditions: what simulation and contract must notice. */
import type { NewEntry } from "../../shared/store/flush.ts";
import { Postgres } from "./postgres.ts";
import type { RunRow } from "./tables.ts";

export class OwnerNotInFence extends Postgres {
  override isFenceOf(row: RunRow, { attempt, known_seq }: NewEntry): boolean {
    return row.attempt === attempt && row.event_seq === known_seq;
  }
}

export class EventSeqNotInFence extends Postgres {
  override isFenceOf(row: RunRow, { attempt, owner }: NewEntry): boolean {
    return row.attempt === attempt && row.owner === owner;
  }
}

export class SignalsNotInPark extends Postgres {
  override mayPark(): boolean {
    return true;
  }
}

export class NoSilenceNeeded extends Postgres {
  override isSilent(): boolean {
    return true;
  }
}

export class NoOverlap extends Postgres {
  override overlapMs(): number {
    return 0;
  }
}
