import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { errors } from "../../../shared/errors.ts";
import { eventSchemas } from "../../../shared/contracts/event.ts";
import { bodyOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";

const Media = z.looseObject({
  schema: z.unknown(),
  example: z.unknown().optional(),
  examples: z.unknown().optional(),
});
const Content = z.object({
  content: z.record(z.string(), Media).optional(),
  headers: z.record(z.string(), z.unknown()).optional(),
  $ref: z.string().optional(),
});
const Operation = z.object({
  operationId: z.string(),
  tags: z.array(z.string()).min(1),
  summary: z.string(),
  security: z.array(z.unknown()),
  parameters: z.array(z.object({ name: z.string(), in: z.string(), example: z.unknown() })).optional(),
  requestBody: Content.optional(),
  responses: z.record(z.string(), Content),
});
const Document = z.object({
  tags: z.array(z.object({ name: z.string() })),
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  webhooks: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.object({
    schemas: z.record(z.string(), z.record(z.string(), z.unknown())),
    responses: z.record(z.string(), Content),
    headers: z.record(z.string(), z.unknown()),
  }),
});

const Parts = z.array(z.unknown()).optional();
const Body = z.looseObject({
  $ref: z.string().optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  oneOf: Parts,
  anyOf: Parts,
  allOf: Parts,
});

let app: TestApp;
let document: z.infer<typeof Document>;
let text: string;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
  text = await (await app.call("GET", "/api/v2/openapi.json", { key: null })).text();
  document = Document.parse(JSON.parse(text));
});
afterAll(() => app.stop());

const operations = () =>
  [document.paths, document.webhooks].flatMap((table) =>
    Object.values(table).flatMap((path) => Object.values(path)),
  );

// Fails when a generator of clients has to invent the name of an operation, or when two operations have the same name.
test("every operation has an id of its own, a tag of the document, a summary and its security", () => {
  const ids = operations().map(({ operationId }) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  const tags = new Set(operations().flatMap((operation) => operation.tags));
  expect([...tags].toSorted()).toEqual(document.tags.map(({ name }) => name).toSorted());
});

test("every operation with a key documents its problem responses", () => {
  for (const { security, responses } of operations()) {
    if (security.length > 0)
      expect(Object.keys(responses)).toEqual(expect.arrayContaining(["401", "403", "429", "500", "503"]));
  }
});

// Fails when a generator of clients gets "any value" for a body: the schema of a definition is added by its path.
test("every JSON body of a request has a schema with fields", () => {
  const fieldsOf = (schema: unknown): number => {
    const { $ref, properties = {}, oneOf, anyOf, allOf } = Body.parse(schema);
    const named = $ref === undefined ? [] : [document.components.schemas[$ref.split("/").at(-1) ?? ""]];
    const parts = [...named, ...(oneOf ?? []), ...(anyOf ?? []), ...(allOf ?? [])];
    return Object.keys(properties).length + parts.reduce<number>((sum, part) => sum + fieldsOf(part), 0);
  };
  const without = operations().filter(({ requestBody }) => {
    const schema = requestBody?.content?.["application/json"]?.schema;
    return schema !== undefined && fieldsOf(schema) === 0;
  });
  // The body of a trigger is any JSON: the trigger's template says how a run is made of it.
  expect(without.map(({ operationId }) => operationId)).toEqual(["fireTrigger"]);
});

test("problems with Retry-After and successes of POST document the RateLimit headers", () => {
  const names = ({ headers = {} }: z.infer<typeof Content> = {}) => Object.keys(headers).toSorted();
  const states = ["RateLimit", "RateLimit-Policy"];
  const { responses } = document.components;
  expect(names(responses["Problem429"])).toEqual([...states, "Retry-After"]);
  expect(names(responses["Problem503"])).toEqual([...states, "Retry-After"]);
  expect(names(responses["Problem404"])).toEqual([]);
  const run = document.paths["/api/v2/orchestrations/{id}/run"]?.["post"]?.responses ?? {};
  expect(names(run["202"])).toEqual(expect.arrayContaining(states));
  const status = document.paths["/api/v2/orchestrations/runs/{run_id}/status"]?.["get"]?.responses ?? {};
  expect(names(status["200"])).not.toContain("RateLimit");
});

// Fails when the flags of a regular expression end up in its pattern, which then matches nothing.
test("every pattern is a regular expression of ECMAScript without flags", () => {
  const patterns = Array.from(text.matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g), ([, json = ""]) =>
    String(JSON.parse(json)),
  );
  expect(patterns.length).toBeGreaterThan(20);
  for (const pattern of patterns) {
    expect(() => new RegExp(pattern, "u")).not.toThrow();
    expect(pattern).not.toMatch(/\$\/[a-z]*$/);
    // Needless in a pattern: openapi-zod-client escapes the slash again, and its client does not compile.
    expect(pattern).not.toContain("\\/");
  }
});

test("every reference leads to a component; each type of step is one, with its type as the discriminator", () => {
  // Fails when an example has a `$ref`, which generators of clients take for a file: they refuse the whole document.
  const names = Array.from(text.matchAll(/"\$ref":"([^"]*)"/g), ([, ref = ""]) => ref);
  for (const ref of names) {
    const [, kind = "", name = ""] = /^#\/components\/(schemas|responses|headers)\/([^/]+)$/.exec(ref) ?? [];
    expect(z.record(z.string(), z.unknown()).parse(document.components)[kind]).toHaveProperty(name);
  }
  expect(document.components.schemas["Step"]).toMatchObject({
    discriminator: { propertyName: "type", mapping: { if_else: "#/components/schemas/IfElseStep" } },
  });
  expect(Object.keys(document.webhooks)).toEqual([
    "run.completed",
    "run.failed",
    "run.cancelled",
    "run.waiting",
    "chat.completed",
    "chat.failed",
    "chat.cancelled",
    "chat.waiting",
    "webhook.test",
  ]);
});

// Fails when the linter finds anything: an example that its schema refuses, a parameter that no path has, a component without use.
test("the document passes the strictest rules of a linter", async () => {
  const config = await createConfig({ extends: ["recommended-strict"] });
  const found = await lintFromString({ source: text, absoluteRef: "openapi.json", config });
  expect(found.map(({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer])).toEqual([]);
});

/** Whether the document has an example of the body. */
function hasExample(media: z.infer<typeof Media>): boolean {
  const { success, data } = z.object({ $ref: z.string() }).safeParse(media.schema);
  if (!success) return media.example !== undefined || media.examples !== undefined;
  const name = data.$ref.slice("#/components/schemas/".length);
  // An upload has a reference with a `$ref`, of which there is no example.
  return name === "Upload" || "examples" in (document.components.schemas[name] ?? {});
}

test("every body has an example, and every code of a problem too", () => {
  for (const { operationId, requestBody, responses } of operations()) {
    const bodies = [requestBody, ...Object.values(responses)].flatMap((each) =>
      Object.entries(each?.content ?? {}),
    );
    for (const [type, media] of bodies)
      expect([operationId, type, hasExample(media)]).toEqual([operationId, type, true]);
  }
  for (const [code, { status }] of Object.entries(errors)) {
    // No operation of the document answers 405: it is the answer to a method that a path does not have.
    if (code === "method_not_allowed") continue;
    const [media] = Object.values(document.components.responses[`Problem${status}`]?.content ?? {});
    expect(media?.examples).toHaveProperty(code);
  }
});

/** The response that an operation documents for a status. */
function responseOf(path: string, method: string, status: number): z.infer<typeof Content> {
  const response = document.paths[path]?.[method]?.responses[String(status)] ?? {};
  const shared = response.$ref?.slice("#/components/responses/".length);
  return shared === undefined ? response : (document.components.responses[shared] ?? {});
}

/** The document's schema of an answer, as zod reads it. */
function schemaOf(path: string, method: string, status: number): z.ZodType {
  const { content = {} } = responseOf(path, method, status);
  const [{ schema } = { schema: undefined }] = Object.values(content);
  if (schema === undefined) throw new Error(`${method} ${path} documents no body of a ${status}`);
  const local = JSON.stringify({ ...Object(schema), $defs: document.components.schemas });
  return z.fromJSONSchema(JSON.parse(local.replaceAll("#/components/schemas/", "#/$defs/")));
}

// Fails when an answer has another shape than the document promises to generated clients.
test("real answers have the shape that the document promises", async () => {
  const run = await startRun(app);
  const definition = "/api/v2/orchestrations/{id}";
  const run_id = "/api/v2/orchestrations/runs/{run_id}";
  const cases: [method: string, template: string, path: string, status: number, body?: unknown][] = [
    ["post", `${definition}/run`, RUN, 202, { message: "m" }],
    ["post", `${definition}/run`, RUN, 422, { priority: 99 }],
    ["get", `${run_id}/status`, runPath(run, "status"), 200],
    ["get", `${run_id}/result`, runPath(run, "result"), 409],
    ["get", `${run_id}/events`, runPath(run, "events"), 200],
    ["get", `${run_id}/why`, runPath(run, "why"), 200],
    ["get", definition, "/api/v2/orchestrations/orch_smoke", 200],
    ["get", definition, "/api/v2/orchestrations/nowhere", 404],
    ["get", "/api/v2/orchestrations", "/api/v2/orchestrations", 200],
    ["put", "/api/v2/agents/{id}", "/api/v2/agents/a1", 200, { name: "A", tools: ["later"] }],
    ["get", "/api/v2/workers", "/api/v2/workers", 200],
    ["get", "/scale/tenants", "/scale/tenants", 200],
    ["get", "/scale/dlq", "/scale/dlq", 200],
    ["get", "/livez", "/livez", 200],
  ];
  for (const [method, template, path, status, body] of cases) {
    const response = await app.call(method.toUpperCase(), path, { body });
    expect([path, response.status]).toEqual([path, status]);
    const parsed = schemaOf(template, method, status).safeParse(await response.json());
    expect([path, parsed.error?.issues ?? []]).toEqual([path, []]);
  }
});

// Fails when a generated client cannot send null, or does not say what null means.
test("a schema describes where null means the default, where null has no meaning, and which fields no run reads", () => {
  const { Agent = {}, SwitchStep = {} } = document.components.schemas;
  expect(Agent["properties"]).toMatchObject({
    type: { anyOf: [{ type: "string" }, { type: "null" }], description: "Null means the default" },
    model: { description: "Null and an empty text mean that it is not set" },
    avatar: { description: expect.stringContaining("No run reads it") },
    name: { type: "string" },
  });
  expect(SwitchStep["properties"]).toMatchObject({
    retry: { anyOf: [{ type: "object" }, { type: "null" }], description: "Null means the default" },
    next_step_id: { description: "With null or an empty text the run ends there" },
    position_x: { description: expect.stringContaining("No run reads it") },
  });
  expect(Agent["description"]).toContain("repos");
});

// Fails when a generated client has two parameters of one name: it does not compile.
test("no operation has two parameters of one place whose names differ in their spelling alone", () => {
  for (const { operationId, parameters = [] } of operations()) {
    const names = parameters.map(
      ({ in: place, name }) => `${place} ${name.toLowerCase().replaceAll(/[^a-z]/g, "")}`,
    );
    expect([operationId, names.toSorted()]).toEqual([operationId, [...new Set(names)].toSorted()]);
  }
});

// Fails when a generated client has no type for what a stream carries.
test("every event that a stream can carry is a component, and the routes of events refer to it", () => {
  const { schemas } = document.components;
  const mapping = z.object({ mapping: z.record(z.string(), z.string()) });
  const types = mapping.parse(schemas["Event"]?.["discriminator"]).mapping;
  expect(Object.keys(types).toSorted()).toEqual(Object.keys(eventSchemas).toSorted());
  expect(schemas["StepStartEvent"]).toMatchObject({
    properties: { type: { const: "step_start" }, seq: { type: "integer" }, step_type: { type: "string" } },
    required: expect.arrayContaining(["type", "run_id", "seq", "ts", "correlation_id", "orch_step_id"]),
  });
  // Generators take it for the data of one event: with a text here hey-api's events had the wrong type, and its validator refused them.
  const stream = { schema: { $ref: "#/components/schemas/Event" } };
  const streams = [
    "/api/v2/orchestrations/runs/{run_id}/stream",
    "/api/v2/events/stream",
    "/api/v2/chat/{session_id}/stream",
  ];
  for (const path of streams) {
    expect(document.paths[path]?.["get"]?.responses["200"]?.content).toMatchObject({
      "text/event-stream": stream,
    });
  }
  expect(JSON.stringify(schemas["Events"])).toContain('"event":{"$ref":"#/components/schemas/Event"}');
});

test("the schema of an orchestration accepts what the API accepts", async () => {
  const local = JSON.stringify({ $ref: "#/$defs/Orchestration", $defs: document.components.schemas });
  const schema = z.fromJSONSchema(JSON.parse(local.replaceAll("#/components/schemas/", "#/$defs/")));
  const stored = await bodyOf(await app.call("GET", "/api/v2/orchestrations/orch_smoke"));
  expect(schema.safeParse(stored).success).toBe(true);
  const [step] = z.array(z.record(z.string(), z.unknown())).parse(stored["steps"]);
  const nulls = { retry: null, max_iterations: null, output_key: null, input_keys: null, name: null };
  const withNulls = { ...stored, timeout_minutes: null, description: null, steps: [{ ...step, ...nulls }] };
  expect(schema.safeParse(withNulls).error?.issues ?? []).toEqual([]);
  expect(schema.safeParse({ ...stored, name: null }).success).toBe(false);
  expect(schema.safeParse({ ...stored, steps: [{ id: "a", type: "magic" }] }).success).toBe(false);
});

// Fails when the generator takes a field that answers may leave out for a required one: clients would refuse those answers.
test("a field that an answer, or the change of a lane, may leave out is not required", () => {
  const required = new Map<string, Set<string>>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    const object = z.looseObject({
      properties: z.record(z.string(), z.unknown()),
      required: z.array(z.string()),
    });
    const parsed = object.safeParse(value);
    if (parsed.success) {
      const names = Object.keys(parsed.data.properties).toSorted().join(" ");
      required.set(names, new Set(parsed.data.required));
    }
    for (const inner of Object.values(value)) visit(inner);
  };
  visit(document);
  expect(required.get("kind path until")).toEqual(new Set(["kind", "until"]));
  const field = "default description key label max min options pattern placeholder required type";
  expect(required.get(field)).toEqual(new Set(["key", "label", "type", "options", "required"]));
  expect(document.components.schemas["LaneChange"]).not.toHaveProperty("required");
  expect(required.get("budget_id kind of path run_id wait_id")).toEqual(new Set(["kind", "of"]));
});

/** The example of a request's body: of the operation, or of the component that it refers to. */
function exampleIn(media: z.infer<typeof Media>): Record<string, unknown> {
  const { $ref = "" } = z.looseObject({ $ref: z.string().optional() }).parse(media.schema);
  const component = document.components.schemas[$ref.slice("#/components/schemas/".length)];
  return Example.parse(media.example ?? z.array(z.unknown()).parse(component?.["examples"])[0]);
}
const Example = z.record(z.string(), z.unknown());

// Fails when an example disagrees with a rule that no schema describes. It is the last test, because it changes settings.
test("the API accepts the example of every request's body", async () => {
  const refused: string[][] = [];
  for (const [template, path] of Object.entries(document.paths)) {
    // The same operations as under /scale.
    if (template.startsWith("/api/scale")) continue;
    for (const [method, { requestBody, parameters = [] }] of Object.entries(path)) {
      const media = requestBody?.content?.["application/json"];
      if (media === undefined) continue;
      const body = exampleIn(media);
      // The id in the body of a definition is that of its path.
      const values = new Map([
        ...parameters.map(({ name, example }) => [name, example] as const),
        ["id", body["id"] ?? body["name"] ?? "x"],
      ]);
      const place = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(values.get(name)));
      const response = await app.call(method.toUpperCase(), place, { body });
      // What the examples name does not exist.
      if (!response.ok && response.status !== 404) refused.push([method, place, await response.text()]);
    }
  }
  expect(refused).toEqual([]);
});
