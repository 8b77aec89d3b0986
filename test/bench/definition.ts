import { TenantId } from "../../shared/contracts/ids.ts";
import { saveOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import type { Sql } from "../../shared/store/sql.ts";

export const TENANT = TenantId.parse("bench");
export const STEPS = 5;

/** The orchestration of two steps. */
export const TWO_STEPS = "orch_bench_two";

/** The bench's tenant, with limits that are never reached, and its orchestrations of five and of two `print` steps. */
export async function makeDefinition(sql: Sql): Promise<void> {
  await sql`
    insert into tenants (tenant_id, max_concurrent_runs, max_queued_runs, requests_per_second)
    values (${TENANT}, 1000, 1000000, 1000000)`;
  await saveSteps(sql, "orch_bench", STEPS);
  await saveSteps(sql, TWO_STEPS, 2);
}

async function saveSteps(sql: Sql, id: string, count: number): Promise<void> {
  await saveOrchestration(sql, TENANT, {
    id,
    name: "Bench",
    description: "",
    definition: JSON.stringify({
      id,
      name: "Bench",
      entry_step_id: "s1",
      steps: Array.from({ length: count }, (_, i) => ({
        id: `s${i + 1}`,
        name: `Step ${i + 1}`,
        type: "print",
        print_content: `step ${i + 1} of {state.user_input}`,
        output_key: `o${i + 1}`,
        next_step_id: i + 1 < count ? `s${i + 2}` : null,
      })),
    }),
  });
}
