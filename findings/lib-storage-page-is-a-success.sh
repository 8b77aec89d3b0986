#!/usr/bin/env bash
# A multipart upload of @aws-sdk/lib-storage resolves when the last reply is the page of a proxy under 200, and nothing is stored.
#
# Versions: @aws-sdk/lib-storage 3.1175.0, @aws-sdk/client-s3 3.1175.0.
# Input: 6 MiB to a store that takes each part; the reply to CompleteMultipartUpload has the status 200 and a page of HTML, as a proxy or a
# sign-in gateway before the store sends it, and no ETag. The same for one PUT. The controls: an empty reply, a reply that is cut, and S3's own
# `<Error>` under 200.
# Seen: with the page, done() resolves for both, and its only sign is that the output has no ETag. The three controls reject.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @aws-sdk/lib-storage@3.1175.0 @aws-sdk/client-s3@3.1175.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
let last = "";
const server = createServer(async (request, response) => {
  const { searchParams } = new URL(request.url, "http://store");
  for await (const _ of request);
  if (searchParams.has("partNumber")) return response.writeHead(200, { etag: '"part"' }).end();
  if (searchParams.has("uploads"))
    return response.end("<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>");
  return response.writeHead(request.method === "DELETE" ? 204 : 200, { "content-type": "text/html" }).end(request.method === "DELETE" ? "" : last);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const client = new S3Client({
  endpoint: `http://127.0.0.1:${server.address().port}`,
  region: "us-east-1",
  forcePathStyle: true,
  maxAttempts: 1,
  credentials: { accessKeyId: "none", secretAccessKey: "none" },
});
async function probe(name, reply, bytes) {
  last = reply;
  const upload = new Upload({ client, params: { Bucket: "b", Key: "k", Body: Buffer.alloc(bytes) } });
  const outcome = await upload.done().then(({ ETag }) => `resolves, ETag ${ETag}`, () => "rejects");
  console.log(`${name}: ${outcome}`);
}
const PAGE = "<html><body>Sign in</body></html>";
await probe("parts, page", PAGE, 6 * 1024 * 1024);
await probe("put, page", PAGE, 9);
await probe("parts, nothing", "", 6 * 1024 * 1024);
await probe("parts, cut", "<CompleteMultipartUploadResult><Buck", 6 * 1024 * 1024);
await probe("parts, error", "<Error><Code>InternalError</Code><Message>m</Message></Error>", 6 * 1024 * 1024);
process.exit(0);
JS
node probe.mjs | tee seen
diff seen - <<'SEEN'
parts, page: resolves, ETag undefined
put, page: resolves, ETag undefined
parts, nothing: rejects
parts, cut: rejects
parts, error: rejects
SEEN
echo "as described"
