import { TenantId } from "../../shared/contracts/ids.ts";
import { saveOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import type { Sql } from "../../shared/store/sql.ts";

export const TENANT = TenantId.parse("bench");
export const STEPS = 5;

/** The bench's tenant, with limits that are never reached, and its orchestration of five `print` steps. */
export async function makeDefinition(sql: Sql): Promise<void> {
  await sql`
    insert into tenants (tenant_id, max_concurrent_runs, max_queued_runs, requests_per_second)
    values (${TENANT}, 1000, 1000000, 1000000)`;
  await saveOrchestration(sql, TENANT, {
    id: "orch_bench",
    name: "Bench",
    description: "",
    definition: JSON.stringify({
      id: "orch_bench",
      name: "Bench",
      entry_step_id: "s1",
      steps: Array.from({ length: STEPS }, (_, i) => ({
        id: `s${i + 1}`,
        name: `Step ${i + 1}`,
        type: "print",
        print_content: `step ${i + 1} of {state.user_input}`,
        output_key: `o${i + 1}`,
        next_step_id: i + 1 < STEPS ? `s${i + 2}` : null,
      })),
    }),
  });
}
