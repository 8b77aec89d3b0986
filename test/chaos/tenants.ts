/** The tenants of a chaos run: two ordinary ones, one with small limits, one that floods. */
import { TenantId } from "../../shared/contracts/ids.ts";

export type ChaosTenant = { tenant_id: TenantId; max_concurrent_runs: number; max_queued_runs: number };

const tenant = (name: string, max_concurrent_runs: number, max_queued_runs: number): ChaosTenant => ({
  tenant_id: TenantId.parse(name),
  max_concurrent_runs,
  max_queued_runs,
});

export const small = tenant("small", 2, 6);
export const flood = tenant("flood", 5, 40);
export const tenants: readonly ChaosTenant[] = [
  tenant("acme", 100, 1_000),
  tenant("beta", 100, 1_000),
  small,
  flood,
];
