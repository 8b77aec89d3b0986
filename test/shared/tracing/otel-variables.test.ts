import { describe, expect, test } from "vitest";
import {
  exportHeaders,
  headersTo,
  resourceAttributes,
  resourceOf,
} from "../../../shared/tracing/otel-variables.ts";

describe("a list of OpenTelemetry's variables", () => {
  // Fails when a value ends at its second `=` or at a space, or keeps its escapes: vendors show all of these.
  test.each([
    ["x-api-key=secret", { "x-api-key": "secret" }],
    ["Authorization=Basic abc==, x-scope = a ", { Authorization: "Basic abc==", "x-scope": "a" }],
    ["authorization=Bearer%20a%2Cb", { authorization: "Bearer a,b" }],
    ["", {}],
    ["a=1,", { a: "1" }],
  ])("of headers is read: %s", (text, headers) => {
    expect(exportHeaders().parse(text)).toEqual(headers);
  });

  test.each(["secret", "=secret", "a b=secret", "x-bin=secret", "x=%zz", "x=a%0d%0aEvil: 1", "x=é"])(
    "of headers is refused, by an error that quotes nothing of it: %s",
    (text) => {
      const { error } = exportHeaders("OTEL_EXPORTER_OTLP_HEADERS ").safeParse(text);
      expect(error?.issues.map(({ message }) => message)).toEqual([
        "OTEL_EXPORTER_OTLP_HEADERS must be headers like x-api-key=secret,x-dataset=synapse, with , and % in values as %2C and %25",
      ]);
    },
  );

  test("of attributes may have any names and texts", () => {
    const text = "deployment.environment.name=prod,team=caf%C3%A9 au lait";
    expect(resourceAttributes().parse(text)).toEqual({
      "deployment.environment.name": "prod",
      team: "café au lait",
    });
    expect(resourceAttributes().safeParse("prod").success).toBe(false);
  });
});

test("the name of a service is OTEL_SERVICE_NAME, else that of the attributes, else the product's; no variable replaces the attributes of the process itself", () => {
  const OTEL_RESOURCE_ATTRIBUTES = {
    "service.name": "of-attributes",
    "service.instance.id": "same for all",
    team: "a",
  };
  expect(resourceOf("synapse-edge", {})).toEqual({ "service.name": "synapse-edge" });
  expect(
    resourceOf("synapse-edge", { OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME: "" })["service.name"],
  ).toBe("of-attributes");
  const own = { "service.instance.id": "w#1" };
  expect(resourceOf("synapse-worker", { OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME: "mine" }, own)).toEqual({
    "service.name": "mine",
    "service.instance.id": "w#1",
    team: "a",
  });
});

// Fails when an administrator who moves the collector gets the token of the first one.
test("headers go to the collector of the variables alone", () => {
  const headers = { authorization: "secret" };
  expect(headersTo("https://a:4317/x", "https://a:4317", headers)).toEqual(headers);
  for (const other of ["https://b:4317", "http://a:4317", "https://a:4318"])
    expect(headersTo(other, "https://a:4317", headers)).toEqual({});
  expect(headersTo("https://a:4317", undefined, headers)).toEqual({});
});
