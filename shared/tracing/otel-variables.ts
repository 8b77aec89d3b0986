/** The variables of OpenTelemetry that edges and workers read, with the meaning that its SDKs give them. */
import { z } from "zod";
import { percentDecoded } from "../http/percent-decoded.ts";
import type { Attributes } from "./span.ts";

type Pairs = Readonly<Record<string, string>>;

/**
 * A list `name=value,name=value` whose values have percent-escapes, as OpenTelemetry takes it from W3C Baggage. A space or an `=` in a
 * value is accepted as it is: vendors show `authorization=Basic abc==`.
 */
const pairs = (rule: string, isPair: (name: string, value: string) => boolean) =>
  z.string().transform((text, context): Pairs => {
    const found: Record<string, string> = {};
    for (const part of text.split(",").filter((one) => one.trim() !== "")) {
      const [name = "", ...rest] = part.split("=");
      const value = percentDecoded(rest.join("=").trim());
      if (rest.length === 0 || value === null || !isPair(name.trim(), value)) {
        context.addIssue({ code: "custom", message: rule });
        return z.NEVER;
      }
      found[name.trim()] = value;
    }
    return found;
  });

/** Names that are metadata of gRPC and headers of HTTP. A name that ends in `-bin` has bytes as its value in gRPC. */
const isHeader = (name: string, value: string): boolean =>
  /^[A-Za-z0-9_.-]+$/.test(name) && !/-bin$/i.test(name) && /^[\x20-\x7e]*$/.test(value);

const ESCAPES = "with , and % in values as %2C and %25";

/** @param prefix the name of the variable and a space, where the error does not name it otherwise */
export const exportHeaders = (prefix = "") =>
  pairs(`${prefix}must be headers like x-api-key=secret,x-dataset=synapse, ${ESCAPES}`, isHeader);

/** @param prefix as of `exportHeaders` */
export const resourceAttributes = (prefix = "") =>
  pairs(
    `${prefix}must be attributes like deployment.environment.name=production,service.namespace=ai, ${ESCAPES}`,
    (name) => name !== "",
  );

/** The values of OTEL_TRACES_SAMPLER. `parentbased_…`: a trace that a caller began is sent when the caller sends it. */
export const samplerNames = [
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
  "always_on",
  "always_off",
  "traceidratio",
] as const;
export type SamplerName = (typeof samplerNames)[number];

/** Which traces are sent. The argument is the share of traces that a sampler with a ratio sends. */
export type Sampling = { OTEL_TRACES_SAMPLER: SamplerName; OTEL_TRACES_SAMPLER_ARG: number };

/** @param prefix as of `exportHeaders` */
export const sampler = (prefix = "") =>
  z.enum(samplerNames, `${prefix}must be one of ${samplerNames.join(", ")}`).default("parentbased_always_on");

/** @param prefix as of `exportHeaders` */
export const samplerRatio = (prefix = "") => {
  const rule = `${prefix}must be a number from 0 to 1, the share of the traces that are sent`;
  return z.coerce.number(rule).min(0, rule).max(1, rule).default(1);
};

/** The variables that say what spans come from. */
export type ResourceVariables = {
  OTEL_SERVICE_NAME?: string | undefined;
  OTEL_RESOURCE_ATTRIBUTES?: Pairs | undefined;
};

/**
 * The attributes of the process that all its spans have.
 * @param service the name of the service unless the variables name it; `own`: attributes that no variable replaces
 */
export function resourceOf(service: string, variables: ResourceVariables, own: Attributes = {}): Attributes {
  const { OTEL_SERVICE_NAME: name, OTEL_RESOURCE_ATTRIBUTES: attributes } = variables;
  return {
    "service.name": service,
    ...attributes,
    ...(name && { "service.name": name }),
    ...own,
  };
}

/** A collector of OTLP, and the headers that each export to it carries. */
export type Collector = { endpoint: string; headers: Pairs };

/**
 * The headers of an export: those of the variables, when it goes to the collector that the variables name. A setting that moves the collector
 * would otherwise send the token of the first collector to another one.
 */
export function headersTo(
  endpoint: string,
  ofVariables: string | null | undefined,
  headers: Pairs = {},
): Pairs {
  const isSame =
    ofVariables !== null &&
    ofVariables !== undefined &&
    URL.parse(endpoint)?.origin === URL.parse(ofVariables)?.origin;
  return isSame ? headers : {};
}
