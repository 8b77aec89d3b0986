#!/usr/bin/env bash
# Two verifiers of one signature differ in what they return: standardwebhooks gives the parsed body, svix gives nothing.
#
# Versions: standardwebhooks 1.1.1, svix 2.5.0.
# Input: one delivery with a JSON body, signed as Standard Webhooks says; both accept it.
# Seen: `verify` of standardwebhooks returns the body as an object, `verify` of svix returns undefined: a receiver that changes
# from one to the other reads its event from undefined.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund standardwebhooks@1.1.1 svix@2.5.0 >/dev/null
cat > probe.mjs <<'JS'
import { Webhook } from "standardwebhooks";
import { Webhook as Svix } from "svix";
const secret = `whsec_${Buffer.from("a secret of 24 bytes now").toString("base64")}`;
const body = '{"type":"run.completed"}';
const now = new Date();
const headers = {
  "webhook-id": "msg_1",
  "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
  "webhook-signature": new Webhook(secret).sign("msg_1", now, body),
};
console.log(`standardwebhooks=${JSON.stringify(new Webhook(secret).verify(body, headers))}`);
console.log(`svix=${JSON.stringify(new Svix(secret).verify(body, headers))}`);
JS
node probe.mjs | tee seen
grep -qx 'standardwebhooks={"type":"run.completed"}' seen
grep -qx 'svix=undefined' seen
echo "as described"
