import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startFleet } from "../flow/fleet.ts";
import { Link } from "./link.ts";

test("a limit holds while one worker alone cannot reach Redis", async () => {
  const fleet = await startFleet();
  const link = new Link("a-redis", Number(new URL(fleet.redisUrl).port));
  const port = await link.listen();
  try {
    await fleet.sql`update tenants set max_concurrent_runs = 2, version = version + 1, updated_at = now() `;
    await fleet.define({
      id: "orch_slow",
      name: "Slow",
      entry_step_id: "slow",
      steps: [{ id: "slow", name: "Slow", type: "llm", model: "demo/slow", prompt_template: "Write", output_key: "text" }],
    });
    await fleet.startWorker("a", { REDIS_URL: `redis://127.0.0.1:${port}` });
    await fleet.startWorker("b");
    link.set("cut");
    await sleep(1_000);
    for (let i = 0; i < 16; i++) await fleet.run("orch_slow");
    let most = 0;
    const seen: string[] = [];
    for (let i = 0; i < 200; i++) {
      const rows = await fleet.sql<{ owner: string }[]>`select owner from runs where status = 'running'`;
      if (rows.length > most) seen.push(rows.map(({ owner }) => owner).join(" "));
      most = Math.max(most, rows.length);
      await sleep(200);
    }
    console.log(seen);
    expect(most).toBe(2);
  } finally {
    link.set("open");
    await fleet.close();
    await link.close();
  }
}, 90_000);
