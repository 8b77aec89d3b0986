import { errors } from "../../../shared/errors.ts";
import { isObject } from "../../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { OTHER_POSITION_NAMES } from "../position-names.ts";
import { exampleOf, hasReference, referredName } from "./example-of.ts";
import { MEDIA } from "./example-values.ts";
import { LIMIT_HEADERS, addLimitHeaders, problemHeaders } from "./limit-headers.ts";

/**
 * Completes the generated document with what each route would have to repeat: an example of every body (without references to
 * values) and parameter, and one response for each status of a problem, with an example of each of its codes. Where the API takes null, the document says so.
 * @param generated a copy of the generator's document as JSON; it is changed in place
 */
export function completeDocument(generated: JsonObject): JsonObject {
  takeNull(generated);
  writePlainSlashes(generated);
  const components = objectIn(generated, "components");
  const schemas = objectIn(components, "schemas");
  for (const [name, schema] of Object.entries(schemas)) {
    const example = exampleOf({ $ref: `#/${name}` }, schemas, name);
    if (isObject(schema) && !hasReference(example)) schema["examples"] = [example];
  }
  const problems: JsonObject = {};
  for (const operation of operationsOf(generated)) {
    const parameters = listIn(operation, "parameters").filter((each) => !isOtherPositionName(each));
    if (parameters.length > 0) operation["parameters"] = parameters;
    for (const parameter of parameters) {
      if (!isObject(parameter)) continue;
      const { name, schema } = parameter;
      if (typeof name === "string" && schema !== undefined)
        parameter["example"] = exampleOf(schema, schemas, name);
    }
    addExamples(operation["requestBody"], schemas);
    const responses = objectIn(operation, "responses");
    for (const [status, response] of Object.entries(responses)) {
      if (!isProblem(response)) {
        addExamples(response, schemas);
        continue;
      }
      problems[`Problem${status}`] ??= problemResponse(Number(status));
      responses[status] = { $ref: `#/components/responses/Problem${status}` };
    }
  }
  components["responses"] = problems;
  components["headers"] = LIMIT_HEADERS;
  for (const path of Object.values(objectIn(generated, "paths"))) {
    if (isObject(path)) addLimitHeaders(objectIn(objectIn(path, "post"), "responses"));
  }
  return generated;
}

/**
 * Corrects how the generator writes "a reference or null": as "all of: the reference; an object or null". Null does not match the
 * reference, so that schema refuses it. Here it becomes "any of: the reference, null".
 */
function takeNull(value: Json | undefined): void {
  if (Array.isArray(value)) value.forEach(takeNull);
  if (!isObject(value)) return;
  const [reference, type] = listIn(value, "allOf");
  if (reference !== undefined && isObject(type) && listIn(type, "type").includes("null")) {
    delete value["allOf"];
    value["anyOf"] = [reference, { type: "null" }];
  }
  Object.values(value).forEach(takeNull);
}

/**
 * Writes a slash in a pattern as it is. JavaScript's source of a regular expression has it as `\/`, which no other language needs, and of which
 * openapi-zod-client makes a client that does not compile.
 */
function writePlainSlashes(value: Json | undefined): void {
  if (Array.isArray(value)) value.forEach(writePlainSlashes);
  if (!isObject(value)) return;
  if (typeof value["pattern"] === "string") value["pattern"] = value["pattern"].replaceAll("\\/", "/");
  Object.values(value).forEach(writePlainSlashes);
}

function isOtherPositionName(parameter: Json): boolean {
  if (!isObject(parameter)) return false;
  return parameter["in"] === "query" && OTHER_POSITION_NAMES.some((name) => name === parameter["name"]);
}

/** Adds an example to a body, unless its schema is a component: then the component has the example. */
function addExamples(body: Json | undefined, schemas: JsonObject): void {
  for (const [type, media] of Object.entries(isObject(body) ? objectIn(body, "content") : {})) {
    if (!isObject(media) || referredName(media["schema"]) !== null) continue;
    const [name = ""] = type.split(";");
    media["example"] = MEDIA[name] ?? exampleOf(media["schema"], schemas, "");
  }
}

/** The response for a status, with an example of each code that `shared/errors.ts` has for it. */
function problemResponse(status: number): JsonObject {
  const codes = Object.entries(errors).filter(([, error]) => error.status === status);
  const examples = codes.map(([code, { title }]) => [code, exampleProblem(status, code, title)] as const);
  return {
    description: codes.map(([code, { title }]) => `\`${code}\`: ${title}`).join("  \n"),
    ...problemHeaders(status),
    content: {
      "application/problem+json": {
        schema: { $ref: "#/components/schemas/Problem" },
        examples: Object.fromEntries(examples),
      },
    },
  };
}

function exampleProblem(status: number, code: string, title: string): JsonObject {
  const value: JsonObject = {
    type: `urn:synapse:problem:${code}`,
    title,
    status,
    detail: `${title}.`,
    code,
    request_id: "req_7c1f0e9a5b3d4286",
  };
  if (code === "invalid") value["errors"] = [{ path: "priority", message: "must be at most 10" }];
  return { summary: title, value };
}

function isProblem(response: Json | undefined): boolean {
  return isObject(response) && objectIn(response, "content")["application/problem+json"] !== undefined;
}

function operationsOf(document: JsonObject): JsonObject[] {
  return [document["paths"], document["webhooks"]].flatMap((table) =>
    Object.values(isObject(table) ? table : {}).flatMap((path) =>
      Object.values(isObject(path) ? path : {}).filter((operation) => isObject(operation)),
    ),
  );
}

function objectIn(parent: JsonObject, name: string): JsonObject {
  const value = parent[name];
  return isObject(value) ? value : {};
}

function listIn(parent: JsonObject, name: string): Json[] {
  const value = parent[name];
  return Array.isArray(value) ? value : [];
}
