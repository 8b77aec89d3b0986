#!/usr/bin/env bash
# A cron expression that has lost a field is another schedule for cron-parser, and an error for croner: one run a day becomes 60 a month.
#
# Versions: cron-parser 5.10.6, pg-boss 12.38.0 (which checks its schedules with it), croner 11.0.1.
# Input: `0 9 * *`, which is "every day at nine" without its last field.
# Seen: cron-parser puts the missing field in front, as the minute, and so reads "in every minute of the hour 0 on the ninth";
# pg-boss stores such a schedule without a word. croner says that the expression has too few fields, cron-parser with `strict` too.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund cron-parser@5.10.6 croner@11.0.1 pg-boss@12.38.0 @electric-sql/pglite@0.5.17 >/dev/null
cat > probe.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite";
import { CronExpressionParser } from "cron-parser";
import { Cron } from "croner";
import { PgBoss } from "pg-boss";
const expression = "0 9 * *";
const from = new Date("2026-01-01T00:00:00Z");
const runs = CronExpressionParser.parse(expression, { currentDate: from, tz: "UTC" }).take(61).map((at) => at.toISOString());
console.log(`cron-parser: ${runs[0]} ${runs[1]} … ${runs[59]} ${runs[60]}`);
const refused = (make) => {
  try {
    make();
    return "takes it";
  } catch {
    return "refuses it";
  }
};
console.log(`croner ${refused(() => new Cron(expression, { paused: true }))}`);
console.log(`cron-parser with strict ${refused(() => CronExpressionParser.parse(expression, { strict: true }))}`);
const postgres = new PGlite();
// pg-boss takes any connection; a text without values may have several statements.
const executeSql = async (text, values) =>
  values?.length ? postgres.query(text, values) : { rows: (await postgres.exec(text)).flatMap(({ rows }) => rows) };
const boss = new PgBoss({ db: { executeSql }, schedule: false, supervise: false });
boss.on("error", (error) => {
  throw error;
});
await boss.start();
await boss.createQueue("report");
await boss.schedule("report", expression);
console.log(`pg-boss stores ${(await boss.getSchedules()).map(({ cron }) => `"${cron}"`)}`);
process.exit(0);
JS
node probe.mjs | tee seen
grep -qxF 'cron-parser: 2026-01-09T00:00:00.000Z 2026-01-09T00:01:00.000Z … 2026-01-09T00:59:00.000Z 2026-02-09T00:00:00.000Z' seen
grep -qx 'croner refuses it' seen
grep -qx 'cron-parser with strict refuses it' seen
grep -qx 'pg-boss stores "0 9 \* \*"' seen
echo "as described"
