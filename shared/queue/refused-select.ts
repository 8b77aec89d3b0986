import { z } from "zod";

const RefusedSelect = z.object({ command: z.object({ name: z.literal("select") }) });

/**
 * Whether this error of a connection to Redis is the refusal of the database that REDIS_URL names. The driver goes on with database 0, which may
 * be the queue of another installation, so the connection has to be closed (`findings/ioredis-refused-database.sh`).
 */
export function isRefusedSelect(error: unknown): boolean {
  return RefusedSelect.safeParse(error).success;
}
