#!/usr/bin/env bash
# A mail of nodemailer that its server takes for one recipient and defers for another is a success, and the deferred one never gets it.
#
# Version: nodemailer 10.6.1.
# Input: one mail to two recipients. The server takes the first, and answers the second with 450 (greylisting), as RFC 5321 (4.5.3.1.10) also has it
# for "too many recipients" (452), after which the sender sends the mail again to the rest. The control: both are deferred.
# Seen: sendMail() resolves; only `rejectedErrors` of its result has the 450, in `rejected` the recipient looks like one that was refused
# for good. When both are deferred, it rejects with the responseCode 450.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund nodemailer@10.6.1 >/dev/null
cat > probe.mjs <<'JS'
import net from "node:net";
import { createInterface } from "node:readline";
import { createTransport } from "nodemailer";
const server = net.createServer((socket) => {
  socket.on("error", () => {});
  let inMessage = false;
  socket.write("220 ready\r\n");
  createInterface({ input: socket }).on("line", (line) => {
    if (inMessage && line !== ".") return;
    if (inMessage) {
      inMessage = false;
      return socket.write("250 queued\r\n");
    }
    inMessage = line === "DATA";
    socket.write(line === "DATA" ? "354 go on\r\n" : line.includes("later") ? "450 4.2.0 greylisted\r\n" : "250 ok\r\n");
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const transport = createTransport({ host: "127.0.0.1", port: server.address().port });
async function probe(...to) {
  const mail = { from: "shop@example.org", to, subject: "s", text: "t" };
  const outcome = await transport.sendMail(mail).then(
    ({ accepted, rejected, rejectedErrors = [] }) =>
      `resolves, accepted ${accepted}, rejected ${rejected}, codes ${rejectedErrors.map(({ responseCode }) => responseCode)}`,
    ({ responseCode }) => `rejects with ${responseCode}`,
  );
  console.log(outcome);
}
await probe("ann@example.com", "later@example.com");
await probe("later@example.com", "later2@example.com");
process.exit(0);
JS
node probe.mjs | tee seen
diff seen - <<'SEEN'
resolves, accepted ann@example.com, rejected later@example.com, codes 450
rejects with 450
SEEN
echo "as described"
