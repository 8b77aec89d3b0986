/** The API's document as the fuzzer reads it. */
import formats from "ajv-formats";
import { Ajv2020 } from "ajv/dist/2020.js";
import { z } from "zod";

const Schema = z.record(z.string(), z.unknown());
export type Schema = z.infer<typeof Schema>;

const Parameter = z.object({
  name: z.string(),
  in: z.enum(["path", "query", "header"]),
  required: z.boolean().default(false),
  schema: Schema,
});
const Content = z.record(z.string(), z.object({ schema: Schema }));
const Response = z.object({ $ref: z.string().optional(), content: Content.optional() });
const Operation = z.object({
  operationId: z.string(),
  parameters: z.array(Parameter).default([]),
  requestBody: z.object({ required: z.boolean().default(false), content: Content }).optional(),
  responses: z.record(z.string(), Response),
});
const Document = z.object({
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.object({ schemas: z.record(z.string(), Schema), responses: z.record(z.string(), Response) }),
});
export type Document = z.infer<typeof Document>;

export type DocumentedOperation = z.infer<typeof Operation> & { method: string; template: string };

export function readDocument(json: unknown): {
  operations: DocumentedOperation[];
  schemas: Record<string, Schema>;
  checks: Checks;
} {
  const document = Document.parse(json);
  const operations = Object.entries(document.paths).flatMap(([template, path]) =>
    Object.entries(path).map(([method, operation]) => ({ ...operation, method, template })),
  );
  return { operations, schemas: document.components.schemas, checks: new Checks(document) };
}

/** Compares requests and answers with the document. */
export class Checks {
  readonly #document: Document;
  readonly #ajv = new Ajv2020({ strict: false, allErrors: false, validateFormats: true });

  constructor(document: Document) {
    this.#document = document;
    formats.default(this.#ajv);
    this.#ajv.addSchema(document, "document");
  }

  /** Whether the document allows this JSON body. */
  allowsBody(operation: DocumentedOperation, body: unknown): boolean {
    const pointer = `${pointerTo(operation)}/requestBody/content/application~1json/schema`;
    return this.#validate(pointer, body) === null;
  }

  /** What is wrong with an answer by the document; null: it is as promised. `text`: its body, null for a stream. */
  wrongInAnswer(operation: DocumentedOperation, answer: Response, text: string | null): string | null {
    const { status } = answer;
    if (status >= 500 && status !== 503 && status !== 504) return `${status} ${text}`;
    const documented = operation.responses[String(status)];
    if (documented === undefined) return `the status ${status} is not documented: ${text?.slice(0, 300)}`;
    const shared = documented.$ref?.split("/").at(-1);
    const { content = {} } =
      shared === undefined ? documented : (this.#document.components.responses[shared] ?? {});
    const base =
      shared === undefined
        ? `${pointerTo(operation)}/responses/${status}`
        : `/components/responses/${shared}`;
    const type = answer.headers.get("content-type");
    if (type === null) return Object.keys(content).length === 0 ? null : "the answer has no Content-Type";
    const named = Object.keys(content).find((each) => essence(each) === essence(type));
    if (named === undefined) return `the type ${type} of a ${status} is not documented`;
    if (text === null || !/[/+]json$/.test(essence(named))) return null;
    const json = parsed(text);
    if (json === undefined) return `a ${status} is no JSON: ${text.slice(0, 100)}`;
    return this.#validate(`${base}/content/${escaped(named)}/schema`, json);
  }

  #validate(pointer: string, value: unknown): string | null {
    const key = `document#${pointer}`;
    const validate = this.#ajv.getSchema(key);
    if (!validate) throw new Error(`the document has no schema at ${pointer}`);
    return validate(value) === true ? null : this.#ajv.errorsText(validate.errors);
  }
}

/** Undefined: it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pointerTo({ template, method }: DocumentedOperation): string {
  return `/paths/${escaped(template)}/${method}`;
}

/** A name in a JSON pointer that is the fragment of a URI. */
function escaped(name: string): string {
  return encodeURIComponent(name.replaceAll("~", "~0").replaceAll("/", "~1"));
}

function essence(type: string): string {
  return (type.split(";")[0] ?? "").trim();
}
