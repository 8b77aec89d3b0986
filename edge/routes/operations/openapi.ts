import { definitionComponents } from "../../../shared/contracts/definition/definition-components.ts";
import { eventComponents } from "../../../shared/contracts/event-components.ts";
import {
  ChatWebhookBody,
  RunReport,
  TEST_TYPE,
  TestWebhookBody,
  WebhookBody,
} from "../../../shared/contracts/webhook.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { Api } from "../../http/api.ts";
import { completeDocument } from "../../http/openapi/complete-document.ts";

/** The component that describes the body of each PUT of a definition: the route itself has no schema, because a parser checks the body. */
const BODIES: { [path: string]: string } = {
  "/api/v2/orchestrations/{id}": "Orchestration",
  "/api/v2/agents/{id}": "Agent",
  "/api/v2/tools/{id}": "Tool",
  "/api/v2/mcp-servers/{id}": "McpServer",
};

/** The OpenAPI document, generated from the routes. */
export function openapi(api: Api): void {
  api.openAPIRegistry.registerComponent("securitySchemes", "key", {
    type: "http",
    scheme: "bearer",
    description: "An API key: sk-syn-…",
  });
  api.openAPIRegistry.registerComponent("securitySchemes", "token", {
    type: "apiKey",
    in: "query",
    name: "token",
    description: "A stream token, for a browser's EventSource",
  });
  api.openAPIRegistry.registerComponent("securitySchemes", "metricsToken", {
    type: "http",
    scheme: "bearer",
    description: "METRICS_TOKEN, which opens the metrics and nothing else",
  });
  for (const type of RunReport.options) addWebhook(api, type);
  for (const report of ["completed", "failed", "cancelled", "waiting"]) addChatWebhook(api, report);
  addTestWebhook(api);
  // Made once for each isolate: that takes some 20 ms of processor time, and the route needs no key.
  let document: string | undefined;
  api.get("/api/v2/openapi.json", (c) => {
    document ??= JSON.stringify(documentOf(api));
    return c.body(document, 200, { "content-type": "application/json" });
  });
}

function addWebhook(api: Api, type: RunReport): void {
  const ending = type.slice("run.".length);
  api.openAPIRegistry.registerWebhook({
    method: "post",
    path: type,
    operationId: `onRun${ending.charAt(0).toUpperCase()}${ending.slice(1)}`,
    tags: ["Webhooks"],
    summary: type === "run.waiting" ? "A run waits for a person" : `A run has ended as ${ending}`,
    description: ABOUT_WEBHOOKS,
    security: [],
    request: { body: { required: true, content: { "application/json": { schema: WebhookBody } } } },
    responses: WEBHOOK_RESPONSES,
  });
}

function addChatWebhook(api: Api, report: string): void {
  api.openAPIRegistry.registerWebhook({
    method: "post",
    path: `chat.${report}`,
    operationId: `onChat${report.charAt(0).toUpperCase()}${report.slice(1)}`,
    tags: ["Webhooks"],
    summary: report === "waiting" ? "A chat turn waits for a person" : `A chat turn has ended as ${report}`,
    description: ABOUT_WEBHOOKS,
    security: [],
    request: { body: { required: true, content: { "application/json": { schema: ChatWebhookBody } } } },
    responses: WEBHOOK_RESPONSES,
  });
}

function addTestWebhook(api: Api): void {
  api.openAPIRegistry.registerWebhook({
    method: "post",
    path: TEST_TYPE,
    operationId: "onWebhookTest",
    tags: ["Webhooks"],
    summary: "The test of an endpoint, sent once",
    description: ABOUT_WEBHOOKS,
    security: [],
    request: { body: { required: true, content: { "application/json": { schema: TestWebhookBody } } } },
    responses: WEBHOOK_RESPONSES,
  });
}

const ABOUT_WEBHOOKS =
  "Signed as Standard Webhooks do and in `X-Synapse-Signature`, where the run has a secret, and always to an endpoint.";
const WEBHOOK_RESPONSES = {
  "2XX": { description: "The delivery is taken" },
  "4XX": { description: "404, 408 and 429 are tried again; any other is final" },
  "5XX": { description: "Tried again for 24 hours" },
};

function documentOf(api: Api) {
  const document = api.getOpenAPI31Document(ABOUT);
  for (const [path, name] of Object.entries(BODIES)) {
    const body = document.paths?.[path]?.put?.requestBody;
    if (body === undefined || !("content" in body)) throw new Error(`the PUT of ${path} has no body`);
    body.content = { "application/json": { schema: { $ref: `#/components/schemas/${name}` } } };
  }
  // The routes describe a definition, an event and a stream by their names alone. To make their schemas takes longer than to make
  // all routes, so they are made here: an isolate that serves no document never makes them.
  document.components = {
    ...document.components,
    schemas: { ...definitionComponents(), ...document.components?.schemas, ...eventComponents() },
  };
  return completeDocument(JsonRecord.parse(JSON.parse(JSON.stringify(document))));
}

const ABOUT = {
  openapi: "3.1.0",
  info: {
    title: "synapse-edge",
    version: "2",
    description:
      "Durable orchestration of AI work behind one HTTP API. A field or a query parameter that a route does not have is " +
      "a 422 that names the nearest one, and so is a body where a route takes none; `Prefer: handling=lenient` ignores it.",
    license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  },
  servers: [{ url: "/", description: "This edge" }],
  tags: [
    { name: "Runs", description: "Start runs, watch over them, and read their results" },
    { name: "Streams", description: "Server-sent events of runs" },
    { name: "Chat", description: "Sessions with an agent: each turn is a run" },
    { name: "Schedules", description: "Runs that the clock or a signed request starts" },
    { name: "Files", description: "Uploads, which runs take as attachments" },
    { name: "Definitions", description: "Orchestrations, agents and tools" },
    { name: "Webhooks", description: "Endpoints of a tenant, and what receivers get" },
    { name: "Money", description: "Prices of models, and budgets" },
    {
      name: "Operations",
      description: "Health, tenants, keys, the audit, workers, dead letters and webhook deliveries",
    },
  ],
};
