#!/usr/bin/env bash
# A multipart upload of @aws-sdk/lib-storage that succeeded rejects with NoSuchUpload when the reply to its last request is lost.
#
# Versions: @aws-sdk/lib-storage 3.1175.0, @aws-sdk/client-s3 3.1175.0.
# Input: 6 MiB to a store that does as S3 does: CompleteMultipartUpload makes the object and forgets the upload. The connection is cut
# once, before the reply to it. The control: one PUT whose reply is lost in the same way.
# Seen: the client repeats the request, as it does by default, and the store does not know the upload any more. done() rejects, and
# even an AbortMultipartUpload follows, while the object is there and whole. The PUT is repeated too, and resolves.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @aws-sdk/lib-storage@3.1175.0 @aws-sdk/client-s3@3.1175.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
const parts = new Map();
const objects = new Map();
const requests = [];
let lose = false;
const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://store");
  let bytes = 0;
  for await (const part of request) bytes += part.length;
  const reply = (status, text = "") => {
    if (!lose) return response.writeHead(status, { "content-type": "application/xml", etag: '"e"' }).end(text);
    lose = false;
    request.socket.destroy();
  };
  const upload = searchParams.get("uploadId");
  requests.push(`${request.method}${searchParams.has("uploads") ? " begin" : upload ? " upload" : ""}`);
  if (searchParams.has("uploads")) {
    parts.set("u", 0);
    return reply(200, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
  }
  if (upload && !parts.has(upload)) return reply(404, "<Error><Code>NoSuchUpload</Code><Message>Unknown upload</Message></Error>");
  if (request.method === "PUT" && upload) parts.set(upload, parts.get(upload) + bytes);
  else {
    lose = true;
    objects.set(pathname, upload ? parts.get(upload) : bytes);
    if (upload) parts.delete(upload);
    if (requests.filter((item) => item === requests.at(-1)).length > 1) lose = false;
  }
  return reply(200, request.method === "POST" ? '<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>' : "");
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const credentials = { accessKeyId: "none", secretAccessKey: "none" };
const client = new S3Client({ endpoint: `http://127.0.0.1:${server.address().port}`, region: "us-east-1", forcePathStyle: true, credentials });
const say = (promise) => promise.then(() => "resolves", (error) => `rejects with ${error.name}`);
const Body = Buffer.alloc(6 * 1024 * 1024);
const upload = await say(new Upload({ client, params: { Bucket: "b", Key: "large", Body } }).done());
console.log(`upload ${upload}, object of ${objects.get("/b/large")} bytes, last request ${requests.at(-1)}`);
requests.length = 0;
const put = await say(client.send(new PutObjectCommand({ Bucket: "b", Key: "small", Body: Buffer.alloc(9) })));
console.log(`put ${put}, object of ${objects.get("/b/small")} bytes, requests ${requests.length}`);
process.exit(0);
JS
node probe.mjs | tee seen
grep -qx 'upload rejects with NoSuchUpload, object of 6291456 bytes, last request DELETE upload' seen
grep -qx 'put resolves, object of 9 bytes, requests 2' seen
echo "as described"
