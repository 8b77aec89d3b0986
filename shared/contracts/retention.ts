import { z } from "zod";

const days = z.number().int().min(1).max(3_650).nullable();

/** The retention policy of a tenant. Null in a field: the platform's own time holds. */
export const Retention = z
  .object({
    /** Days after its end after which a run is deleted, with its journal and its objects. Platform: never. */
    runs_days: days,
    /** Days after the end of a run that its journal stays in Postgres, before it moves to the archive. Platform: 1. */
    journal_days: days,
    /** Days of UTC that a charge is kept, besides today. Platform: for ever. */
    usage_days: days,
    /** Days that a dead letter is kept. Platform: as long as its run. */
    dead_letters_days: days,
    /** Days after the end of a run after which its files and large values are deleted. Platform: as long as the run. */
    artifacts_days: days,
    /** Days that a webhook delivery is kept after its outcome. Platform: 30. */
    deliveries_days: days,
    /** How many of the newest versions of an orchestration are kept, besides those that a run is pinned to. Platform: all. */
    versions: z.number().int().min(1).max(10_000).nullable(),
  })
  .meta({ id: "Retention" });
export type Retention = z.infer<typeof Retention>;

/** A change: absent fields keep their values, null gives a field back to the platform. */
export const RetentionChange = Retention.partial();

/** The retention of a tenant without policies of its own, as JSON. */
export const NO_RETENTION = JSON.stringify(
  Object.fromEntries(Object.keys(Retention.shape).map((name) => [name, null])),
);
