import type { ServerResponse } from "node:http";
import zlib from "node:zlib";
import { expect, test } from "vitest";
import { aProvider } from "./model-run.ts";
import { DONE, chunk, counts, oc, text } from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

const { run } = aProvider();
const credit = JSON.stringify({ error: { code: "insufficient_quota", message: "no credit" } });

/** A refusal whose body is written by `write`. */
const refused =
  (status: number, headers: Record<string, string>, write: (response: ServerResponse) => void): Answer =>
  (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    write(response);
  };
const end = (response: ServerResponse): void => void response.end(credit);

// Fails when a body that cannot be read hides what the status says.
test.each<[string, Answer, string]>([
  [
    "is cut",
    refused(401, { "content-length": "500" }, (response) => {
      response.write(credit.slice(0, 20), () => response.destroy());
    }),
    "model_unauthorized",
  ],
  ["is not encoded as it says", refused(404, { "content-encoding": "gzip" }, end), "unknown_model"],
  ["has an unknown encoding", refused(404, { "content-encoding": "pied-piper" }, end), "unknown_model"],
  [
    "is longer than any error",
    refused(404, {}, (response) => void response.end("x".repeat(3_000_000))),
    "unknown_model",
  ],
])("the status of a refusal decides when its body %s", async (_, answer, code) => {
  expect(await run(oc, answer)).toMatchObject({ status: "failed", code, retries: [] });
});

// Fails when such a refusal is reported as a lost connection.
test("a status that HTTP does not have is an error of the provider", async () => {
  const odd = refused(999, {}, (response) => void response.end());
  expect(await run(oc, odd)).toMatchObject({ status: "failed", code: "model_unavailable" });
});

// Takes the 2 s for which a refusal is read.
test("the part of a refusal that has come is read when its body does not end", async () => {
  const endless = refused(429, {}, (response) => void response.write(credit));
  expect(await run(oc, endless)).toMatchObject({ code: "model_unauthorized", retries: [] });
});

// Fails when the answer of a server that compresses whatever a request says is lost.
test.each<[string, (body: string) => Uint8Array]>([
  ["gzip", zlib.gzipSync],
  ["deflate", zlib.deflateSync],
  ["br", zlib.brotliCompressSync],
  ["zstd", zlib.zstdCompressSync],
])("an answer in %s is read", async (encoding, compress) => {
  const answer: Answer = (response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "content-encoding": encoding });
    response.end(compress(text("all", counts(3, 2))));
  };
  expect(await run(oc, answer)).toMatchObject({ response: "all", tokens: 5, retries: [] });
});

test("a compressed answer is read as it arrives", async () => {
  const zip = zlib.createGzip({ flush: zlib.constants.Z_SYNC_FLUSH });
  const answer: Answer = (response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "content-encoding": "gzip" });
    zip.pipe(response);
    zip.write(chunk({ content: "all" }));
    // The connection is cut before the end of the encoding.
    zip.write(chunk({}, "stop") + DONE, () => zip.flush(() => response.end()));
  };
  expect(await run(oc, answer)).toMatchObject({ response: "all", retries: [] });
});
