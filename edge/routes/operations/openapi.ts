import type { Api } from "../../http/api.ts";

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
  // Made once in an isolate: it takes some 20 ms of processor time, and anybody may ask for it.
  let document: string | undefined;
  api.get("/api/v2/openapi.json", (c) => {
    document ??= JSON.stringify(api.getOpenAPI31Document(ABOUT));
    return c.body(document, 200, { "content-type": "application/json" });
  });
}

const ABOUT = {
  openapi: "3.1.0",
  info: {
    title: "synapse-edge",
    version: "2",
    description:
      "Durable orchestration of AI work behind one HTTP API. A field or a query parameter that a route does not have is " +
      "a 422 that names the nearest one; `Prefer: handling=lenient` ignores it.",
  },
};
