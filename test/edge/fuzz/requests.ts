/** Requests made from the document: mostly for things that exist, with bodies that are valid, nearly valid or hostile. */
import fc from "fast-check";
import type { Arbitrary } from "fast-check";
import type { DocumentedOperation, Schema } from "./document.ts";
import { hostileText, valueOf, withFault } from "./values.ts";

export type FuzzRequest = {
  operation: DocumentedOperation;
  path: string;
  key: string | null;
  headers: Record<string, string>;
  /** `text`: what is sent. `value`: the JSON that it is, absent when it is none. */
  body: { text: string | Uint8Array; value?: unknown; type: string } | null;
};

export type Pools = {
  /** The ids of what exists, by the segment before the place of the id. */
  ids: Readonly<Record<string, readonly string[]>>;
  keys: readonly (string | null)[];
};

/** Bodies that are no JSON, or that readers read differently. */
const BROKEN: readonly (string | Uint8Array)[] = [
  "",
  "{",
  "[]",
  "null",
  '"text"',
  "1e999",
  '{"a":1,"a":2}',
  '{"message":9007199254740993}',
  '{"__proto__":{"admin":true}}',
  "[".repeat(5_000) + "]".repeat(5_000),
  `{"message":${"[".repeat(100)}1${"]".repeat(100)}}`,
  "\ufeff{}",
  Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d),
];

const TYPES = [
  "application/json",
  "application/json",
  "application/json",
  "text/plain",
  "application/json; charset=utf-16",
  "multipart/form-data",
];

export function requestOf(
  operation: DocumentedOperation,
  schemas: Record<string, Schema>,
  { ids, keys }: Pools,
): Arbitrary<FuzzRequest> {
  const at = (place: string) => operation.parameters.filter((parameter) => parameter.in === place);
  const values = (parameter: { schema: Schema }) =>
    fc.oneof(
      { weight: 3, arbitrary: valueOf(parameter.schema, schemas).map(String) },
      { weight: 1, arbitrary: hostileText },
    );
  const query = fc.tuple(
    ...at("query").map((parameter) =>
      fc
        .option(values(parameter), { freq: 2 })
        .map((value) => [parameter.name.replace("*", "k"), value] as const),
    ),
  );
  const headers = fc.tuple(
    ...at("header").map((parameter) =>
      fc.option(headerOf(parameter.name), { freq: 2 }).map((value) => [parameter.name, value] as const),
    ),
  );
  return fc
    .record({
      path: pathOf(operation, ids, schemas),
      query,
      stray: fc.oneof(
        { weight: 15, arbitrary: fc.constant("") },
        fc.constantFrom("x=1", "limit=1&limit=2", "%ff=%ff", "cursor=%00"),
      ),
      key: fc.constantFrom(...keys),
      headers,
      body: bodyOf(operation, schemas),
    })
    .map(({ path, query: pairs, stray, key, headers: given, body }) => {
      const shown = new URLSearchParams();
      for (const [name, value] of pairs) if (value !== null) shown.append(name, value.toWellFormed());
      const search = [shown.toString(), stray].filter(Boolean).join("&");
      return {
        operation,
        path: search === "" ? path : `${path}?${search}`,
        key,
        headers: Object.fromEntries(
          given.flatMap(([name, value]) => (value === null ? [] : [[name, value]])),
        ),
        body,
      };
    });
}

function pathOf(
  { template, parameters }: DocumentedOperation,
  ids: Pools["ids"],
  schemas: Record<string, Schema>,
): Arbitrary<string> {
  const parts = template.split("/").map((part, index, all): Arbitrary<string> => {
    const name = /^\{(.*)\}$/.exec(part)?.[1];
    if (name === undefined) return fc.constant(part);
    const schema =
      parameters.find((parameter) => parameter.in === "path" && parameter.name === name)?.schema ?? {};
    const known = ids[all[index - 1] ?? ""] ?? [];
    const encoded = (value: unknown) =>
      encodeURIComponent(String(value).toWellFormed()).replace(/^\.+$/, "") || "%20";
    return fc.oneof(
      {
        weight: 8,
        arbitrary: known.length === 0 ? fc.constant("a~b") : fc.constantFrom(...known).map(encoded),
      },
      { weight: 1, arbitrary: valueOf(schema, schemas).map(encoded) },
      { weight: 1, arbitrary: fc.oneof(hostileText.map(encoded), fc.constantFrom("%ff", "%", "a%2Fb")) },
    );
  });
  return fc.tuple(...parts).map((segments) => segments.join("/"));
}

/** `Prefer: wait` would hold each request. */
function headerOf(name: string): Arbitrary<string> {
  const latin = fc
    .string({ minLength: 1, maxLength: 20 })
    .map((text) => text.replaceAll(/[^\x21-\x7e]/g, "~"));
  const known: Record<string, string[]> = {
    prefer: ["handling=lenient", "wait=0", "wait=x", "respond-async"],
    range: ["bytes=0-1", "bytes=5-", "bytes=-3", "bytes=9-2", "lines=1"],
    "last-event-id": ["0-0", "1780499750229-4", "9999999999999-9007199254740993"],
    "idempotency-key": ["k1", "k2", "k3"],
  };
  return fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...(known[name] ?? ["x"])) }, latin);
}

function bodyOf(
  { requestBody }: DocumentedOperation,
  schemas: Record<string, Schema>,
): Arbitrary<FuzzRequest["body"]> {
  const [[type, media] = ["", undefined]] = Object.entries(requestBody?.content ?? {});
  if (media === undefined) return fc.constant(null);
  if (type !== "application/json")
    return fc.constantFrom({ text: "bytes", type: "text/plain" }, { text: "", type });
  const valid = valueOf(media.schema, schemas);
  const json = fc.oneof({ weight: 4, arbitrary: valid }, { weight: 5, arbitrary: withFault(valid) });
  return fc.oneof(
    {
      weight: 9,
      arbitrary: json.map((value) => ({ text: JSON.stringify(value), value, type: "application/json" })),
    },
    {
      weight: 1,
      arbitrary: fc.record({ text: fc.constantFrom(...BROKEN), type: fc.constantFrom(...TYPES) }),
    },
  );
}
