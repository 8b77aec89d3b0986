import { z } from "zod";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { listKeyUses } from "../../shared/store/sealed/sealed-values.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Config } from "../env.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

const Key = z.object({
  id: z.string(),
  /** Whether this edge has the key, and so opens values that are sealed under it. */
  known: z.boolean(),
  /** Whether this edge seals new values under the key. */
  seals: z.boolean(),
  values: z
    .number()
    .int()
    .meta({ description: "How many values are sealed under it, as the last whole look found" }),
  unreadable: z.number().int().meta({ description: "How many of these values the worker could not open" }),
});

/** The keys that seal secrets, and how many values each has. */
export const MasterKeysView = z
  .object({
    keys: z.array(Key),
    look_began_at: z.iso.datetime().nullable().meta({
      description:
        "When the last whole look at all sealed values began. Null: there was none. Workers look as long as they have MASTER_KEYS",
    }),
    look_ended_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "MasterKeys" });

/** The keys of this edge and those that the last look found. */
export async function viewMasterKeys(sql: Sql, config: Config): Promise<z.infer<typeof MasterKeysView>> {
  const own = masterKeysOf(config);
  const uses = await listKeyUses(sql);
  const [first] = uses;
  const ids = new Set([...(own?.keys.keys() ?? []), ...uses.map((use) => use.key_id)]);
  return {
    keys: [...ids].map((id) => {
      const { values, unreadable } = uses.find((use) => use.key_id === id) ?? { values: 0, unreadable: 0 };
      return { id, known: own?.keys.has(id) ?? false, seals: own?.writer === id, values, unreadable };
    }),
    look_began_at: first ? isoTime(first.began_at_ms) : null,
    look_ended_at: first ? isoTime(first.ended_at_ms) : null,
  };
}
