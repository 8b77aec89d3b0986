#!/usr/bin/env bash
# `*/1` in the day of the month makes a weekly job a daily one for croner and cron-parser; `*` in its place leaves it weekly.
#
# Versions: croner 11.0.1, cron-parser 5.10.6 (BullMQ and pg-boss plan by it), cronosjs 1.7.1, cron-schedule 6.0.0.
# Input: `0 9 */1 * 1`, "at nine, each day of the month, on Mondays", as forms write it that offer "every n days", and `0 9 * * 1`.
# Seen: cron joins the two fields for days by "or" where both name days, and a field with a star names none (crontab(5)). croner
# and cron-parser know only the bare star: with a step of one every day matches "or", so the job runs seven times as often. cronosjs
# and cron-schedule run both expressions on Mondays.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund croner@11.0.1 cron-parser@5.10.6 cronosjs@1.7.1 cron-schedule@6.0.0 >/dev/null
cat > probe.mjs <<'JS'
import { CronExpressionParser } from "cron-parser";
import { parseCronExpression } from "cron-schedule";
import { Cron } from "croner";
import cronosjs from "cronosjs";
const from = new Date("2026-01-01T00:00:00Z");
const libraries = {
  croner: (expression) => new Cron(expression, { timezone: "UTC" }).nextRuns(3, from),
  "cron-parser": (expression) =>
    CronExpressionParser.parse(expression, { currentDate: from, tz: "UTC" }).take(3).map((at) => at.toDate()),
  cronosjs: (expression) => cronosjs.CronosExpression.parse(expression, { timezone: "UTC" }).nextNDates(from, 3),
  "cron-schedule": (expression) => parseCronExpression(expression).getNextDates(3, from),
};
for (const expression of ["0 9 * * 1", "0 9 */1 * 1"])
  for (const [name, runs] of Object.entries(libraries))
    console.log(`${expression}: ${name} ${runs(expression).map((at) => at.toISOString().slice(5, 10)).join(" ")}`);
JS
TZ=UTC node probe.mjs | tee seen
for name in croner cron-parser cronosjs cron-schedule; do grep -qxF "0 9 * * 1: $name 01-05 01-12 01-19" seen; done
for name in croner cron-parser; do grep -qxF "0 9 */1 * 1: $name 01-01 01-02 01-03" seen; done
for name in cronosjs cron-schedule; do grep -qxF "0 9 */1 * 1: $name 01-05 01-12 01-19" seen; done
echo "as described"
