/** The limit on the bytes of a tenant's files, as uploads and as files of runs. */
import { z } from "zod";
import { until } from "../../services/waiting.ts";
import type { Clients } from "./clients.ts";
import type { LimitRow } from "./limit-row.ts";

const FILES = 10;
/** A file of patient clients takes long enough for a process to be killed during the call. */
const uploadBytes = (isPatient: boolean): number => (isPatient ? 8_000_000 : 400_000);
const FILE_BYTES = 10_000;

const Tenant = z.object({ artifact_bytes: z.number() });

export function fileRows(clients: Clients): LimitRow[] {
  const { sql } = clients;
  const bytes = uploadBytes(clients.isPatient);
  const bytesOf = async (tenant: string) =>
    Tenant.parse(await clients.must("GET", `/scale/tenants/${tenant}`)).artifact_bytes;
  const nothingIsHeld = (tenant: string) =>
    until(`${tenant} holds no bytes`, async () => (await bytesOf(tenant)) === 0, 400_000);

  return [
    {
      name: "max_total_artifact_bytes, uploads",
      most: FILES * bytes,
      least: FILES * bytes,
      prepare: (tenant) => clients.limit(tenant, { max_total_artifact_bytes: FILES * bytes }),
      async flood(tenant) {
        const key = await clients.keyOf(tenant);
        const file = new Uint8Array(bytes);
        await clients.fifty((n) => clients.ask("POST", `/api/v2/uploads?name=${n}.bin`, { file, key }));
        return bytesOf(tenant);
      },
      // An upload that a killed edge has cut off cannot be deleted. The product gives it up after a time, and releases its bytes.
      async settle(tenant) {
        const stored = await sql<{ upload_id: string }[]>`
          select upload_id from uploads where tenant_id = ${tenant} and stored_at is not null and deleted_at is null`;
        for (const { upload_id } of stored) await clients.must("DELETE", `/api/v2/uploads/${upload_id}`);
        await nothingIsHeld(tenant);
      },
    },
    {
      name: "max_total_artifact_bytes, files of runs",
      most: FILES * FILE_BYTES,
      least: FILES * FILE_BYTES,
      prepare: (tenant) => clients.limit(tenant, { max_total_artifact_bytes: FILES * FILE_BYTES }),
      async flood(tenant) {
        const state = { name: "file.txt", content: "x".repeat(FILE_BYTES) };
        await clients.fifty(() => clients.start(tenant, "orch_files", { state }));
        await clients.allEnded(tenant);
        return bytesOf(tenant);
      },
      // Retention deletes files with their runs, days later. The test deletes them at once, but not the reservations of killed workers.
      async settle(tenant) {
        await sql`delete from artifacts where tenant_id = ${tenant}`;
        await nothingIsHeld(tenant);
      },
    },
  ];
}
