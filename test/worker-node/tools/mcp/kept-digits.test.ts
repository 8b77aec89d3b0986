import { describe, expect, test } from "vitest";
import { keepDigits } from "../../../../worker-node/tools/mcp/kept-digits.ts";

const LONG = "9223372036854775807";
const lines = (result: string) => ['{"jsonrpc":"2.0",', `"id":1,"result":{${result}`, "}}"];

/** What `keepDigits` makes of a body that arrives in two chunks. */
async function read(type: string, body: string, cutAt: number): Promise<string> {
  const bytes = new TextEncoder().encode(body);
  const chunks = ReadableStream.from([bytes.slice(0, cutAt), bytes.slice(cutAt)]);
  return keepDigits(new Response(chunks, { headers: { "content-type": type } })).text();
}

/** The JSON of each event of a stream. */
function jsonOf(stream: string): unknown[] {
  return stream
    .split(/(?:\r\n|\n|\r(?!\n)){2}/)
    .map((event) => [...event.matchAll(/^data: ?([^\r\n]*)/gm)].map(([, data]) => data).join("\n"))
    .filter((json) => json !== "")
    .map((json): unknown => JSON.parse(json));
}

describe("a structured result with an integer of 64 bits", () => {
  // Fails when a line is read by itself: its path says whether an integer may become a text.
  test.each(["\n", "\r\n", "\r"])(
    "keeps its digits wherever a stream with line ends %j is cut",
    async (end) => {
      const result = lines(`"structuredContent":{"é":${LONG}},"_meta":{"n":${LONG}}`);
      const stream = [
        ": hello",
        "",
        "id: 9223372036854775807",
        ...result.map((line) => `data: ${line}`),
        "",
        "",
      ];
      const body = stream.join(end) + [`data:${result.join("")}`, "", ""].join(end);
      const read64 = {
        jsonrpc: "2.0",
        id: 1,
        result: { structuredContent: { é: LONG }, _meta: { n: 2 ** 63 } },
      };
      for (let cutAt = 0; cutAt <= new TextEncoder().encode(body).length; cutAt += 1) {
        const kept = await read("text/event-stream", body, cutAt);
        expect(jsonOf(kept), `cut at ${cutAt}`).toEqual([read64, read64]);
        expect(kept).toContain("id: 9223372036854775807");
      }
    },
  );

  test("keeps its digits in JSON of several lines, in a batch of responses, and as the result of a task", async () => {
    const json = lines(`"structuredContent":[${LONG}]`).join("\n");
    expect(await read("application/json; charset=utf-8", json, 9)).toContain(`["${LONG}"]`);
    expect(await read("application/json", `[${json}]`, 9)).toContain(`["${LONG}"]`);
    const task = lines(`"ttl":${LONG},"result":{"structuredContent":[${LONG}]}`).join("");
    expect(await read("application/json", task, 9)).toContain(
      `"ttl":${LONG},"result":{"structuredContent":["${LONG}"]}`,
    );
  });
});

test("a response that is no JSON is left to the library", async () => {
  const broken = `{result: ${LONG}}`;
  expect(await read("application/json", broken, 3)).toBe(broken);
  expect(await read("text/event-stream", `data: ${broken}\n\n`, 3)).toBe(`data: ${broken}\n\n`);
  expect(await read("text/plain", broken, 3)).toBe(broken);
});

// Fails when an event whose message is written anew loses the end of its line, and with it its end: it would come with the next event.
test("an event with a member of null that is not set keeps its end", async () => {
  const event = (member: string) => `data: {"jsonrpc":"2.0",${member}"id":1,"result":{}}\n\n`;
  const chunks = new Response(event('"error":null,') + event("")).body;
  const headers = { "content-type": "text/event-stream" };
  const text = await keepDigits(new Response(chunks, { headers })).text();
  expect(text).toBe('data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n' + event(""));
});
