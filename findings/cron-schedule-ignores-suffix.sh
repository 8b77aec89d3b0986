#!/usr/bin/env bash
# cron-schedule reads the last Friday of a month as every Friday, and a quarter of an hour as an hour: it drops what follows a number.
#
# Versions: cron-schedule 6.0.0, croner 11.0.1, cron-parser 5.10.6.
# Input: `0 9 * * 5L` (the last Friday), `0 9 * * 1#1` (the first Monday) and `5/15 * * * *` (each quarter of an hour from minute 5).
# Seen: cron-schedule takes all three without an error and plans by 5, 1 and 5 alone. croner and cron-parser run the first two once a
# month; cron-parser runs the third four times an hour, and croner refuses it. `L` alone is an error in cron-schedule.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund cron-schedule@6.0.0 croner@11.0.1 cron-parser@5.10.6 >/dev/null
cat > probe.mjs <<'JS'
import { CronExpressionParser } from "cron-parser";
import { parseCronExpression } from "cron-schedule";
import { Cron } from "croner";
const from = new Date("2026-01-01T00:00:00Z");
const libraries = {
  croner: (expression) => new Cron(expression, { timezone: "UTC" }).nextRuns(3, from),
  "cron-parser": (expression) =>
    CronExpressionParser.parse(expression, { currentDate: from, tz: "UTC" }).take(3).map((at) => at.toDate()),
  "cron-schedule": (expression) => parseCronExpression(expression).getNextDates(3, from),
};
const runsOf = (runs, expression) => {
  try {
    return runs(expression).map((at) => at.toISOString().slice(5, 16)).join(" ");
  } catch {
    return "refuses it";
  }
};
for (const expression of ["0 9 * * 5L", "0 9 * * 1#1", "5/15 * * * *", "0 9 L * *"])
  for (const [name, runs] of Object.entries(libraries)) console.log(`${expression}: ${name} ${runsOf(runs, expression)}`);
JS
TZ=UTC node probe.mjs | tee seen
for name in croner cron-parser; do
  grep -qxF "0 9 * * 5L: $name 01-30T09:00 02-27T09:00 03-27T09:00" seen
  grep -qxF "0 9 * * 1#1: $name 01-05T09:00 02-02T09:00 03-02T09:00" seen
done
grep -qxF '5/15 * * * *: croner refuses it' seen
grep -qxF '5/15 * * * *: cron-parser 01-01T00:05 01-01T00:20 01-01T00:35' seen
grep -qxF '0 9 * * 5L: cron-schedule 01-02T09:00 01-09T09:00 01-16T09:00' seen
grep -qxF '0 9 * * 1#1: cron-schedule 01-05T09:00 01-12T09:00 01-19T09:00' seen
grep -qxF '5/15 * * * *: cron-schedule 01-01T00:05 01-01T01:05 01-01T02:05' seen
grep -qxF '0 9 L * *: cron-schedule refuses it' seen
echo "as described"
