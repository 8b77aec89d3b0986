/** The routes of the API, taken from its OpenAPI document, for tests of what holds for every route. */
import { z } from "zod";
import { createApp } from "../../../edge/app.ts";

const Parameter = z.object({
  in: z.string(),
  name: z.string(),
  schema: z.looseObject({ enum: z.array(z.string()).optional() }),
});
const Operation = z.object({
  security: z.array(z.record(z.string(), z.array(z.string()))).default([]),
  parameters: z.array(Parameter).default([]),
  requestBody: z.unknown().optional(),
});
const Document = z.object({ paths: z.record(z.string(), z.record(z.string(), Operation)) });

/** `query`: the query parameters. `needsKey`: without an API key, or a stream token in its place, a request is a 401. */
export type DocumentedRoute = {
  method: string;
  path: string;
  query: z.infer<typeof Parameter>[];
  needsKey: boolean;
  hasBody: boolean;
};

const ABOUT = { openapi: "3.1.0", info: { title: "", version: "" } };

/** All routes of the document. The ids in their paths name nothing. */
export function documentedRoutes(): DocumentedRoute[] {
  const api = createApp(() => {
    throw new Error("the document needs no services");
  });
  const { paths } = Document.parse(JSON.parse(JSON.stringify(api.getOpenAPI31Document(ABOUT))));
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { parameters, security, requestBody }]) => ({
      method: method.toUpperCase(),
      path: path.replaceAll(/\{\w+\}/g, "run_000000000000_1780499750067"),
      query: parameters.filter((parameter) => parameter.in === "query"),
      needsKey: security.length > 0 && security.every((scheme) => scheme.key),
      hasBody: requestBody !== undefined,
    })),
  );
}
