#!/usr/bin/env bash
# A job for Sunday, written as 7, runs on Saturday in @breejs/later; `0-7` runs on Sundays alone in cronosjs.
#
# Versions: @breejs/later 4.2.0 (Bree plans by it), cronosjs 1.7.1, croner 11.0.1.
# Input: `0 9 * * 7` and `0 9 * * 0-7`. crontab(5) has 0 and 7 for Sunday.
# Seen: croner runs the first on Sundays, and so does cronosjs; later takes 7 for its own number of Saturday, without an error.
# croner and later run the second on each day; cronosjs makes a range from Sunday to Sunday of it, one day in seven.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @breejs/later@4.2.0 cronosjs@1.7.1 croner@11.0.1 >/dev/null
cat > probe.mjs <<'JS'
import later from "@breejs/later";
import { Cron } from "croner";
import cronosjs from "cronosjs";
const from = new Date("2026-01-01T10:00:00Z");
later.date.UTC();
const libraries = {
  croner: (expression) => new Cron(expression, { timezone: "UTC" }).nextRuns(3, from),
  cronosjs: (expression) => cronosjs.CronosExpression.parse(expression, { timezone: "UTC" }).nextNDates(from, 3),
  later: (expression) => later.schedule(later.parse.cron(expression)).next(3, from),
};
const day = (at) => at.toLocaleDateString("en", { weekday: "short", timeZone: "UTC" });
for (const expression of ["0 9 * * 7", "0 9 * * 0-7"])
  for (const [name, runs] of Object.entries(libraries)) console.log(`${expression}: ${name} ${runs(expression).map(day).join(" ")}`);
JS
node probe.mjs | tee seen
grep -qxF '0 9 * * 7: croner Sun Sun Sun' seen
grep -qxF '0 9 * * 7: cronosjs Sun Sun Sun' seen
grep -qxF '0 9 * * 7: later Sat Sat Sat' seen
grep -qxF '0 9 * * 0-7: croner Fri Sat Sun' seen
grep -qxF '0 9 * * 0-7: cronosjs Sun Sun Sun' seen
grep -qxF '0 9 * * 0-7: later Fri Sat Sun' seen
echo "as described"
