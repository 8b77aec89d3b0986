import net from "node:net";
import zlib from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { refusingFiles, refusingOutbox, refusingStore } from "../fakes.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";

const acme = TenantId.parse("acme");

// A tool's server that sends exactly the bytes of the test: answers that no HTTP library would write.

let bytes: (string | Uint8Array)[] = [];
const server = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.once("data", () => {
    for (const piece of bytes) socket.write(piece);
    socket.end();
  });
});
beforeAll(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
afterAll(() => {
  server.close();
});

function call(): Promise<unknown> {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return createTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey: null,
    mail: refusingOutbox,
    store: refusingStore,
  }).call({
    tenantId: acme,
    tool: { name: "t", tool_type: "http", url: `http://127.0.0.1:${address.port}` },
    args: {},
    effectKey: "run:s:1:tool.1",
    files: refusingFiles,
    signal: new AbortController().signal,
  });
}

const ok = (...headers: string[]) => ["HTTP/1.1 200 OK", ...headers, "", ""].join("\r\n");
const json = ok("Content-Type: application/json");
const encoded = (encoding: string, body: Uint8Array) => [ok(`Content-Encoding: ${encoding}`), body];
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const huge = Buffer.alloc(8 * 1024 * 1024);
const fast = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } };

// Fails when a form of an answer that holds one is refused, or read as something else.
test.each<[string, (string | Uint8Array)[], unknown]>([
  ["of HTTP/1.0, without a length", ["HTTP/1.0 200 OK\r\n\r\n", '{"a":1}'], { a: 1 }],
  ["after an early hint", ["HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", json, '{"a":1}'], { a: 1 }],
  ["of 204", ["HTTP/1.1 204 No Content\r\n\r\n"], ""],
  ["without a body", [ok("Content-Length: 0")], ""],
  ["without a body, and encoded", [ok("Content-Encoding: gzip", "Content-Length: 0")], ""],
  [
    "in chunks that cut a letter",
    [
      ok("Transfer-Encoding: chunked"),
      '2\r\n"\xc3'.slice(0, 3),
      Buffer.from([0x22, 0xc3]),
      "\r\n2\r\n",
      Buffer.from([0xbc, 0x22]),
      "\r\n0\r\n\r\n",
    ],
    "ü",
  ],
  ["with a type of a page", [ok("Content-Type: text/html"), '{"a":1}'], { a: 1 }],
  [
    "of lines of JSON",
    [ok("Content-Type: application/x-ndjson"), '{"a":1}\n{"a":2}\n'],
    '{"a":1}\n{"a":2}\n',
  ],
  [
    "with an open quote in its charset",
    [ok('Content-Type: text/plain; charset="iso-8859-1'), Buffer.from("Müller", "latin1")],
    "Müller",
  ],
  ["with a mark before its JSON", [json, Buffer.from('\ufeff{"a":1}')], { a: 1 }],
  [
    "in two members of gzip",
    encoded("gzip", Buffer.concat([zlib.gzipSync('{"a"'), zlib.gzipSync(":1}")])),
    { a: 1 },
  ],
  [
    "in gzip with bytes after it",
    encoded("gzip", Buffer.concat([zlib.gzipSync('{"a":1}'), Buffer.alloc(9)])),
    { a: 1 },
  ],
  [
    "with its encoding twice",
    [ok("Content-Encoding: gzip", "Content-Encoding: identity"), zlib.gzipSync('{"a":1}')],
    { a: 1 },
  ],
  ["with a field of a prototype", [json, '{"a":1,"b":{"x":2}}'], { a: 1, b: { x: 2 } }],
  [
    "that nests too deep for state",
    [json, `${"[".repeat(200_000)}${"]".repeat(200_000)}`],
    expect.any(String),
  ],
])("an answer %s is read", async (_, pieces, expected) => {
  bytes = pieces;
  expect(await call()).toEqual(expected);
});

const rejection = (code: string) => ({ name: "ToolRejection", code });
const unreachable = { name: "RetryableError", code: "unreachable", answered: false };
// Fails when an answer that cannot be used takes a worker's memory, ends an agent, or counts as a result.
test.each<[string, (string | Uint8Array)[], object]>([
  ["a bomb of gzip", encoded("gzip", zlib.gzipSync(huge)), rejection("answer_too_large")],
  ["a bomb of deflate", encoded("deflate", zlib.deflateSync(huge)), rejection("answer_too_large")],
  ["a bomb of br", encoded("br", zlib.brotliCompressSync(huge, fast)), rejection("answer_too_large")],
  ["a bomb of zstd", encoded("zstd", zlib.zstdCompressSync(huge)), rejection("answer_too_large")],
  [
    "a bomb in a bomb",
    encoded("gzip, gzip", zlib.gzipSync(zlib.gzipSync(huge))),
    rejection("answer_too_large"),
  ],
  [
    "too many encodings",
    encoded(Array.from({ length: 50 }, () => "gzip").join(","), zlib.gzipSync("x")),
    rejection("answer_encoding"),
  ],
  [
    "one megabyte more than it says",
    [ok(), Buffer.alloc(2 * 1024 * 1024, "x")],
    rejection("answer_too_large"),
  ],
  ["shorter than its length", [ok("Content-Length: 50"), '{"a":1}'], unreachable],
  ["cut in its chunks", [ok("Transfer-Encoding: chunked"), chunk('{"a":'), "5\r\n1"], unreachable],
  ["with two lengths", [ok("Content-Length: 7", "Content-Length: 8"), '{"a":1}'], unreachable],
  ["with headers of a megabyte", [ok(`X-A: ${"x".repeat(1024 * 1024)}`), '{"a":1}'], unreachable],
  ["no HTTP", ["SSH-2.0-OpenSSH_9.2\r\n"], unreachable],
  ["nothing", [], unreachable],
  [
    "a switch of protocols",
    ["HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
    { code: "tool_redirected" },
  ],
  [
    "a redirect",
    ["HTTP/1.1 308 R\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"],
    { code: "tool_redirected" },
  ],
  ["not modified", ["HTTP/1.1 304 Not Modified\r\n\r\n"], { code: "tool_redirected" }],
  [
    "a status of no class",
    ["HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n"],
    { code: "tool_unavailable" },
  ],
])("an answer that is %s fails with the code of its fault", async (_, pieces, error) => {
  bytes = pieces;
  await expect(call()).rejects.toMatchObject(error);
});
