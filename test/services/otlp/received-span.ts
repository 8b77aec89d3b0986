/** Spans as the protocol of a collector carries them: docs of opentelemetry-proto, trace/v1/trace.proto. */
import { z } from "zod";

export type ReceivedSpan = {
  service: string;
  /** The attributes of the process. */
  resource: Record<string, string | number | boolean>;
  name: string;
  /** 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  attributes: Record<string, string | number | boolean>;
  links: { traceId: string; spanId: string }[];
  /** 2: it has failed. */
  status: number;
};

const Value = z.object({
  stringValue: z.string().optional(),
  intValue: z.coerce.number().optional(),
  doubleValue: z.number().optional(),
  boolValue: z.boolean().optional(),
});
const Attributes = z
  .array(z.object({ key: z.string(), value: Value }))
  .transform((list) =>
    Object.fromEntries(
      list.map(({ key, value: v }) => [
        key,
        v.stringValue ?? v.intValue ?? v.doubleValue ?? v.boolValue ?? "",
      ]),
    ),
  );
const Span = z.object({
  name: z.string(),
  kind: z.number(),
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().default(""),
  attributes: Attributes,
  links: z.array(z.object({ traceId: z.string(), spanId: z.string() })),
  status: z.object({ code: z.number().default(0) }).transform(({ code }) => code),
});
const Request = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: Attributes }),
      scopeSpans: z.array(z.object({ spans: z.array(Span) })),
    }),
  ),
});

/** The spans of a request in JSON. */
export function spansOfJson(text: string): ReceivedSpan[] {
  return Request.parse(JSON.parse(text)).resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) => spans.map((span) => ({ ...processOf(resource.attributes), ...span }))),
  );
}

function processOf(resource: ReceivedSpan["resource"]): Pick<ReceivedSpan, "service" | "resource"> {
  return { service: String(resource["service.name"]), resource };
}

/** The spans of a request in protobuf. */
export function spansOfProtobuf(bytes: Uint8Array): ReceivedSpan[] {
  return messages(bytes, 1).flatMap((resourceSpans) => {
    const [resource = new Uint8Array()] = messages(resourceSpans, 1);
    const process = processOf(attributesOf(messages(resource, 1)));
    return messages(resourceSpans, 2).flatMap((scope) =>
      messages(scope, 2).map((span) => ({ ...process, ...spanOf(span) })),
    );
  });
}

function spanOf(span: Uint8Array): Omit<ReceivedSpan, "service" | "resource"> {
  const [status = new Uint8Array()] = messages(span, 15);
  return {
    traceId: hexOf(messages(span, 1)),
    spanId: hexOf(messages(span, 2)),
    parentSpanId: hexOf(messages(span, 4)),
    name: textOf(messages(span, 5)),
    kind: numberOf(span, 6),
    attributes: attributesOf(messages(span, 9)),
    links: messages(span, 13).map((link) => ({
      traceId: hexOf(messages(link, 1)),
      spanId: hexOf(messages(link, 2)),
    })),
    status: numberOf(status, 3),
  };
}

function attributesOf(list: Uint8Array[]): ReceivedSpan["attributes"] {
  return Object.fromEntries(
    list.map((attribute) => {
      const [value = new Uint8Array()] = messages(attribute, 2);
      const [text] = messages(value, 1);
      return [
        textOf(messages(attribute, 1)),
        text ? textOf([text]) : numberOf(value, 2) || numberOf(value, 3),
      ];
    }),
  );
}

type Field = { number: number; value: bigint | Uint8Array };

/** The fields of a message of protobuf: https://protobuf.dev/programming-guides/encoding. */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const part = (length: number): Uint8Array => bytes.subarray(at, (at += length));
  while (at < bytes.length) {
    const tag = Number(varint());
    const type = tag & 7;
    const value = type === 0 ? varint() : part(type === 1 ? 8 : type === 5 ? 4 : Number(varint()));
    yield { number: tag >> 3, value };
  }
}

function messages(bytes: Uint8Array, number: number): Uint8Array[] {
  return [...fieldsOf(bytes)].flatMap((field) =>
    field.number === number && field.value instanceof Uint8Array ? [field.value] : [],
  );
}

function numberOf(bytes: Uint8Array, number: number): number {
  const field = [...fieldsOf(bytes)].find((each) => each.number === number);
  return typeof field?.value === "bigint" ? Number(field.value) : 0;
}

function textOf([bytes]: Uint8Array[]): string {
  return bytes ? Buffer.from(bytes).toString("utf8") : "";
}

function hexOf([bytes]: Uint8Array[]): string {
  return bytes ? Buffer.from(bytes).toString("hex") : "";
}
