import { test, expect, inject } from "vitest";
import { startPgBouncer } from "./pgbouncer.ts";
import { npmStart } from "./npm-start.ts";
import { freshDatabase } from "../services/services.ts";
test("edge", async () => {
  const b = await startPgBouncer(await freshDatabase(), 4);
  const s = await npmStart(["--workers", "1"], { SCALE_POSTGRES_URL: b.url }).catch((e) => { console.log("START FAILED", e); return null; });
  if (s) {
    const t0 = performance.now();
    const rs = await Promise.allSettled(Array.from({length: 40}, () => s.run("orch_smoke")));
    console.log(performance.now()-t0, rs.map(r => r.status === "fulfilled" ? "ok" : String(r.reason)).join("|").slice(0, 2000));
    await s.stop();
  }
  await b.stop();
}, 120_000);
