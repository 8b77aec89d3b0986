#!/usr/bin/env bash
# An upload of @aws-sdk/lib-storage that was aborted stores its object all the same, where the object fits in one request.
#
# Versions: @aws-sdk/lib-storage 3.1175.0, @aws-sdk/client-s3 3.1175.0.
# Input: a store that reads a body only when it is told to. While it waits, the upload of 4 MiB is aborted: Upload.abort() for
# lib-storage, the `abortSignal` of PutObjectCommand for client-s3 alone. Then the store reads on.
# Seen: both reject with AbortError at once. client-s3 has cut its request, and nothing is stored. lib-storage has not: the store gets
# the whole body and stores it, after the program has been told that the upload was aborted.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @aws-sdk/lib-storage@3.1175.0 @aws-sdk/client-s3@3.1175.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
const credentials = { accessKeyId: "none", secretAccessKey: "none" };
const aborts = {
  "lib-storage": (client, params) => {
    const upload = new Upload({ client, params });
    return [upload.done(), () => upload.abort()];
  },
  "client-s3": (client, params) => {
    const cut = new AbortController();
    return [client.send(new PutObjectCommand(params), { abortSignal: cut.signal }), () => cut.abort()];
  },
};
for (const [name, start] of Object.entries(aborts)) {
  let readOn = () => {};
  let arrived = () => {};
  const requested = new Promise((resolve) => (arrived = resolve));
  let settle = () => {};
  const settled = new Promise((resolve) => (settle = resolve));
  const server = createServer((request, response) => {
    let bytes = 0;
    request.on("close", () => request.complete || settle("nothing stored"));
    readOn = () =>
      request
        .on("data", (part) => (bytes += part.length))
        .on("end", () => {
          response.writeHead(200, { etag: '"e"' }).end();
          settle(`${bytes} bytes stored`);
        });
    arrived();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${server.address().port}`;
  const client = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, credentials });
  const [done, abort] = start(client, { Bucket: "b", Key: "k", Body: Buffer.alloc(4 * 1024 * 1024) });
  const end = done.then(() => "resolved", (error) => `rejected with ${error.name}`);
  await requested;
  await abort();
  const told = await end;
  readOn();
  console.log(`${name}: ${told}, ${await settled}`);
}
process.exit(0);
JS
node probe.mjs | tee seen
grep -qx 'lib-storage: rejected with AbortError, 4194304 bytes stored' seen
grep -qx 'client-s3: rejected with AbortError, nothing stored' seen
echo "as described"
