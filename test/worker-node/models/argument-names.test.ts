import { afterAll, beforeAll, expect, test } from "vitest";
import type { Message } from "../../../worker-node/engine/ports.ts";
import { ArgumentNames } from "../../../worker-node/models/argument-names.ts";
import { cpuMs } from "../../services/cpu-time.ts";
import {
  an,
  anthropicBlock,
  anthropicEnd,
  anthropicStart,
  call,
  go,
  googleChunk,
  oc,
  ProviderServer,
} from "./provider-server.ts";

const server = new ProviderServer();
beforeAll(() => server.start());
afterAll(() => server.stop());

const text = { type: "string" };
const parameters = {
  type: "object",
  properties: {
    $filter: { ...text, description: "OData" },
    _filter: text,
    "start date": text,
    where: { type: "array", items: { type: "object", properties: { "@type": text }, required: ["@type"] } },
    größe: { $ref: "#/$defs/größe" },
    ["x".repeat(70)]: text,
  },
  $defs: { größe: { type: "object", properties: { "": text } } },
  required: ["$filter", "where"],
};
const own = {
  $filter: "a",
  _filter: "b",
  "start date": "c",
  where: [{ "@type": "d" }],
  größe: { "": "e" },
  ["x".repeat(70)]: "f",
};
const sent = {
  _filter_2: "a",
  _filter: "b",
  start_date: "c",
  where: [{ _type: "d" }],
  gr_e: { _: "e" },
  ["x".repeat(60)]: "f",
};

/** The names of all properties in the schemas of a request. */
function propertyNames(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([keyword, inner]) => [
    ...(keyword === "properties" ? Object.keys(Object(inner)) : []),
    ...propertyNames(inner),
  ]);
}
const answers: [string, string][] = [
  [oc, call(JSON.stringify(sent))],
  [
    an,
    anthropicStart() +
      anthropicBlock(
        0,
        { type: "tool_use", id: "k1", name: "lookup", input: {} },
        { type: "input_json_delta", partial_json: JSON.stringify(sent) },
      ) +
      anthropicEnd("tool_use"),
  ],
  [go, googleChunk([{ functionCall: { name: "lookup", args: sent } }], "STOP")],
];

// Fails when one argument such as `$filter` makes a provider refuse every request that offers the tool.
test.each(answers)(
  "%s: arguments whose names providers refuse go out under others, and come back under their own",
  async (model, answer) => {
    server.reset(answer);
    const messages: Message[] = [
      { role: "user", content: "go" },
      { role: "assistant", content: "", tool_calls: [{ id: "k0", name: "lookup", args: own }] },
      { role: "tool", tool_call_id: "k0", tool_name: "lookup", content: "none" },
    ];
    const { tool_calls } = await server.models().generate({
      model,
      messages,
      tools: [{ name: "lookup", description: "Looks up", parameters }],
      toolChoice: "auto",
      effectKey: "run:a:1:model.1",
      signal: new AbortController().signal,
      onText: () => {},
    });
    expect(tool_calls).toMatchObject([{ name: "lookup", args: own }]);
    expect(Object.keys(Object(tool_calls[0]?.args))).toEqual(Object.keys(own));
    const body = server.requests[0]?.body;
    const names = propertyNames(body);
    expect(names).toHaveLength(8);
    expect(names.filter((name) => !/^[a-zA-Z0-9_.-]{1,64}$/.test(name))).toEqual([]);
    const request = JSON.stringify(body).replaceAll("\\", "");
    expect(request).toContain('"required":["_filter_2","where"]');
    expect(request).toContain('The tool\'s own name for it is "$filter". OData');
    // What the model has called before has the names that it knows.
    expect(request).toContain('"start_date":"c"');
    expect(request).not.toContain('"start date":"c"');
  },
);

// Fails when each name is tried from the first number on: one model call of one tenant would occupy a worker for seconds.
test("thousands of names that become the same are numbered in little time", () => {
  const many = Array.from({ length: 10_000 }, (_, i) => String.fromCharCode(0x4e00 + i));
  const properties = Object.fromEntries(many.map((name) => [name, {}]));
  const beforeMs = cpuMs();
  const names = new ArgumentNames([
    { name: "lookup", description: "", parameters: { type: "object", properties } },
  ]);
  expect(cpuMs() - beforeMs).toBeLessThan(500);
  const sentNames = Object.keys(Object(names.tools[0]?.parameters["properties"]));
  expect(new Set(sentNames).size).toBe(many.length);
  expect(sentNames.slice(0, 3)).toEqual(["_", "__2", "__3"]);
});

// Fails when a name is replaced wherever it stands: the data of a tool may use the same word.
test("names of data that the schema leaves open stay as they are", () => {
  const free = { type: "object", additionalProperties: true };
  const tool = {
    name: "insert",
    description: "",
    parameters: {
      type: "object",
      properties: {
        "start date": text,
        row: free,
        rows: { type: "array", items: { anyOf: [free, { type: "null" }] } },
      },
    },
  };
  const names = new ArgumentNames([tool]);
  const row = { start_date: "d", "start date": "e" };
  const args = { "start date": "a", row, rows: [row, null], other: row };
  const sentArgs = { start_date: "a", row, rows: [row, null], other: row };
  expect(names.own("insert", sentArgs)).toEqual(args);
  const made = { id: "1", name: "insert", args };
  const message: Message = { role: "assistant", content: "", tool_calls: [made] };
  expect(names.sent(message)).toEqual({ ...message, tool_calls: [{ ...made, args: sentArgs }] });
});

// Fails when the schemas of an item are looked up anew for each item: 13 s of the worker's main thread.
test("a list of 50,000 items whose schema has 1,000 forms gets its names back in little time", () => {
  const anyOf = Array.from({ length: 1_000 }, (_, i) => ({ properties: { [`name ${i}`]: {} } }));
  const ofRows = { type: "object", properties: { rows: { type: "array", items: { anyOf } } } };
  const names = new ArgumentNames([{ name: "insert", description: "", parameters: ofRows }]);
  const rows = Array.from({ length: 50_000 }, () => ({ name_7: 1 }));
  const startedAt = cpuMs();
  expect(names.own("insert", { rows })).toEqual({ rows: rows.map(() => ({ "name 7": 1 })) });
  expect(cpuMs() - startedAt).toBeLessThan(1_500);
});
