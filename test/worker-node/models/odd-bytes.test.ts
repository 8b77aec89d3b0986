import { expect, test } from "vitest";
import { aProvider, ag1, runStep } from "./model-run.ts";
import { DONE, call, chunk, cut, event, oc, text } from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

const { server, run } = aProvider();

/** An answer of these bytes, after headers that no library would write. */
const raw =
  (head: string[], ...pieces: (string | Uint8Array)[]): Answer =>
  ({ socket }) => {
    socket?.write(["HTTP/1.1 200 OK", ...head, "", ""].join("\r\n"));
    for (const piece of pieces) socket?.write(piece);
    socket?.end();
  };

const lines = text("all").split("\n");
const message = JSON.stringify({ choices: [{ delta: { content: "all" }, finish_reason: "stop" }] }, null, 2);

// Fails when the answer of a stream in an unusual spelling is lost.
test.each<[string, Answer]>([
  ["without a length, until the connection ends", raw([], text("all"))],
  ["with a length that is too long", raw(["Content-Length: 99999"], text("all"))],
  [
    "in chunks that are not ended",
    raw(["Transfer-Encoding: chunked"], `${text("all").length.toString(16)}\r\n${text("all")}\r\n`),
  ],
  ["with indented lines", lines.map((line) => (line === "" ? "" : `  ${line}`)).join("\n")],
  ["with a space before its colons", text("all").replaceAll("data:", "data :")],
  ["with fields in capitals", text("all").replaceAll("data:", "Data:")],
  ["with ids and times to reconnect", text("all").replaceAll("data:", "id: 1\nretry: 5\ndata:")],
  [
    "with JSON over several lines of data",
    `${message
      .split("\n")
      .map((line) => `data: ${line}`)
      .join("\n")}\n\n${DONE}`,
  ],
  ["whose choices are one object", event({ choices: { delta: { content: "all" }, finish_reason: "stop" } })],
  ["whose delta is a text", event({ choices: [{ delta: "all", finish_reason: "stop" }] })],
  ["with a text after its finish reason", chunk({ content: "al" }, "stop") + chunk({ content: "l" }) + DONE],
  ["after a megabyte of comments", `${": keep-alive\n\n".repeat(70_000)}${text("all")}`],
  ["that goes on after DONE", `${text("all")}${chunk({ content: "more" })}`],
])("a stream %s is read", async (_, stream) => {
  expect(await run(oc, stream)).toMatchObject({ response: "all", retries: [] });
});

test("calls that are a list as JSON text are made", async () => {
  const list = JSON.stringify([{ id: "k", function: { name: "lookup", arguments: { q: "a" } } }]);
  const stream = chunk({ tool_calls: list }) + chunk({}, "tool_calls") + DONE;
  expect(await runStep(server, ag1, [stream, text("fine")])).toMatchObject({
    toolCalls: [{ q: "a" }],
    retries: [],
  });
});

// Fails when a part of an answer counts as the whole answer.
test.each<[string, Answer, string]>([
  ["with a length that is too short", raw(["Content-Length: 60"], text("all")), "model_cut"],
  ["cut in a letter", cut(text("ü").slice(0, 40)), "model_cut"],
  ["with an encoding that it does not have", raw(["Content-Encoding: gzip"], text("all")), "model_cut"],
  ["with nothing in it", "", "model_cut"],
  ["of a plain error", "Error: connect ECONNREFUSED 10.0.0.7:8000\n", "model_unavailable"],
  ["of Python's text", "data: {'choices': [{'delta': {'content': 'x'}}]}\n\n", "model_cut"],
])("a stream %s is tried again", async (_, stream, code) => {
  expect(await run(oc, stream, text("all"))).toMatchObject({ response: "all", retries: [code] });
});

test("a call whose arguments the connection cut is not reported to the model as its mistake", async () => {
  const half = call('{"q":"a"}').slice(0, 120);
  expect(await runStep(server, ag1, [cut(half), text("fine")])).toMatchObject({
    response: "fine",
    toolCalls: [],
  });
});
