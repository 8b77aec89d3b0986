#!/usr/bin/env bash
# iso8601-duration reads a negative duration as a positive one, and one month from 31 January ends on 3 March.
#
# Versions: iso8601-duration 2.1.4, luxon 3.7.2, temporal-polyfill 1.0.8.
# Input: `-PT5M`, as Temporal and luxon write five minutes back, and `P1M` from 2026-01-31.
# Seen: iso8601-duration gives 300 seconds for the first without an error; the others give -300. For the second it counts on into March,
# where the others stop at the month's last day: a monthly period leaves out February.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund iso8601-duration@2.1.4 luxon@3.7.2 temporal-polyfill@1.0.8 >/dev/null
cat > probe.mjs <<'JS'
import { end, parse, toSeconds } from "iso8601-duration";
import { DateTime, Duration } from "luxon";
import { Temporal } from "temporal-polyfill";
const day = "2026-01-31";
console.log(`iso8601-duration: ${toSeconds(parse("-PT5M"))} s, ${end(parse("P1M"), new Date(day)).toISOString().slice(0, 10)}`);
const luxonEnd = DateTime.fromISO(day, { zone: "utc" }).plus(Duration.fromISO("P1M")).toISODate();
console.log(`luxon: ${Duration.fromISO("-PT5M").as("seconds")} s, ${luxonEnd}`);
const temporalEnd = Temporal.PlainDate.from(day).add("P1M");
console.log(`temporal: ${Temporal.Duration.from("-PT5M").total("seconds")} s, ${temporalEnd}`);
JS
TZ=UTC node probe.mjs | tee seen
grep -qx 'iso8601-duration: 300 s, 2026-03-03' seen
grep -qx 'luxon: -300 s, 2026-02-28' seen
grep -qx 'temporal: -300 s, 2026-02-28' seen
echo "as described"
