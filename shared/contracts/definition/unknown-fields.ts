import type { z } from "zod";
import { likelyName, nearestName } from "../../text/nearest-name.ts";
import type { FieldError } from "../../errors.ts";
import { asksForSomething, fieldClasses } from "./field-classes.ts";
import { stepShapes } from "./step.ts";
import { toolShapes } from "./tool.ts";
import type { FieldClass } from "./field-classes.ts";

/** A kind of definition, as its routes and tables name it. */
export type DefinitionKind = "orchestrations" | "agents" | "tools" | "mcp_servers";

/**
 * The fields of a kind of record. `what`: its name in error texts. `inner`: the records in its fields. `byType`: the fields of each type
 * of the record; the field `typeIn` has the type.
 */
type Fields = {
  what: string;
  classes: { readonly [field: string]: FieldClass };
  inner: { [field: string]: { of: Fields; each: "value" | "item" | "entry" } };
  typeIn: string;
  byType?: ReadonlyMap<string, ReadonlySet<string>>;
};

const fields = (what: string, classes: Fields["classes"], more: Partial<Fields> = {}): Fields => ({
  what,
  classes,
  inner: {},
  typeIn: "type",
  ...more,
});

/** The fields that each type has of its own, among those of all types. */
const byType = (shapes: { [type: string]: object }): ReadonlyMap<string, ReadonlySet<string>> =>
  new Map(Object.entries(shapes).map(([type, shape]) => [type, new Set(Object.keys(shape))]));

const step = fields("step", fieldClasses.step, {
  inner: {
    retry: { of: fields("retry", fieldClasses.retry), each: "value" },
    human_fields: { of: fields("field", fieldClasses.humanField), each: "item" },
    escalate_to: { of: fields("escalation", fieldClasses.escalation), each: "item" },
  },
  byType: byType(stepShapes),
});

const kinds: { [Kind in DefinitionKind]: Fields } = {
  orchestrations: fields("orchestration", fieldClasses.orchestration, {
    inner: {
      steps: { of: step, each: "item" },
      state_schema: { of: fields("key of state", fieldClasses.stateField), each: "entry" },
    },
  }),
  agents: fields("agent", fieldClasses.agent),
  mcp_servers: fields("MCP server", fieldClasses.mcpServer, {
    inner: { oauth: { of: fields("OAuth client", fieldClasses.oauthClient), each: "value" } },
  }),
  tools: fields("tool", fieldClasses.tool, {
    typeIn: "tool_type",
    byType: byType(toolShapes),
    inner: { reconcile: { of: fields("reconcile", fieldClasses.reconcile), each: "value" } },
  }),
};

/** The most fields that are reported: a body of another kind may have a hundred thousand. */
const MAX_REPORTED = 50;

/**
 * The fields of a definition that nothing reads, each with the known field that is spelled most like it. A definition is a
 * program: a mistyped limit that is dropped is no limit, and a field of another type of step has no effect. The
 * predecessor's steps carry the fields of all types, so a field that is empty or has its default is accepted.
 */
export function unknownFields(kind: DefinitionKind, json: unknown): FieldError[] {
  return collect(json, kinds[kind], unknownError);
}

/** The fields of a definition that ask for what is not built yet. */
export function laterFields(kind: DefinitionKind, json: unknown): FieldError[] {
  return collect(json, kinds[kind], (name, value, { classes }) => {
    const fieldClass = classOf(classes, name);
    const isLater = typeof fieldClass === "object" && asksForSomething(value, fieldClass.noEffect);
    return isLater ? `is not available yet: ${fieldClass.instead}` : null;
  });
}

/** A warning for each `max_turns` of a step without turns: the predecessor writes it on steps of all types. */
export function unreadTurns(json: unknown): FieldError[] {
  return collect(json, kinds.orchestrations, (name, value, { byType: types }, type) =>
    name === "max_turns" && types?.get(type)?.has(name) === false && !isEmptyOrDefault(name, value)
      ? `is read on steps of type agent alone, and this step is of type ${type}`
      : null,
  );
}

type Judge = (name: string, value: unknown, record: Fields, type: string) => string | null;

function collect(
  json: unknown,
  record: Fields,
  judge: Judge,
  path = "",
  found: FieldError[] = [],
): FieldError[] {
  const type = entriesOf(json).find(([name]) => name === record.typeIn)?.[1];
  for (const [name, value] of entriesOf(json)) {
    if (found.length >= MAX_REPORTED) return found;
    const at = path === "" ? name : `${path}.${name}`;
    const message = judge(name, value, record, typeof type === "string" ? type : "");
    if (message !== null) {
      found.push({ path: at, message });
      continue;
    }
    const below = Object.hasOwn(record.inner, name) ? record.inner[name] : undefined;
    if (below === undefined) continue;
    if (below.each === "value") collect(value, below.of, judge, at, found);
    else if (below.each === "entry") {
      for (const [key, entry] of entriesOf(value)) collect(entry, below.of, judge, `${at}.${key}`, found);
    } else if (Array.isArray(value)) {
      for (const [i, item] of value.entries()) collect(item, below.of, judge, `${at}[${i}]`, found);
    }
  }
  return found;
}

function unknownError(
  name: string,
  value: unknown,
  { what, classes, byType: types }: Fields,
  type: string,
): string | null {
  if (classOf(classes, name) === undefined) {
    if (value === null || value === "") return null;
    const nearest = suggested(name, Object.keys(classes));
    const hint = nearest === null ? "" : `: did you mean "${nearest}"?`;
    return `is not a field of ${/^[aeiou]/.test(what) ? "an" : "a"} ${what}${hint}`;
  }
  // The predecessor writes `max_turns` on steps of all types.
  if (types === undefined || name === "max_turns" || types.get(type)?.has(name) !== false) return null;
  const owners = [...types].filter(([, names]) => names.has(name)).map(([owner]) => owner);
  return owners.length === 0 || isEmptyOrDefault(name, value)
    ? null
    : `is a field of ${what}s of type ${owners.join(", ")}, and this ${what} is of type ${type}: leave it out`;
}

function classOf(classes: Fields["classes"], name: string): FieldClass | undefined {
  return Object.hasOwn(classes, name) ? classes[name] : undefined;
}

/** A field that differs in its first letter, or in more than this share of its letters, is another one: `description` is no `position_x`. */
const MAX_SHARE = 0.6;

function suggested(name: string, known: readonly string[]): string | null {
  const nearest = nearestName(name, known);
  const isNear =
    nearest !== null &&
    nearest.name.startsWith(name.charAt(0).toLowerCase()) &&
    nearest.distance <= nearest.name.replaceAll("_", "").length * MAX_SHARE;
  return likelyName(name, known) ?? (isNear ? nearest.name : null);
}

/** Whether a field is empty, switched off, or has the default that it gets where it is absent. */
function isEmptyOrDefault(name: string, value: unknown): boolean {
  if (value === null || value === "" || value === false) return true;
  if (typeof value === "object" && Object.keys(value).length === 0) return true;
  return [...Object.values(stepShapes), ...Object.values(toolShapes)].some(
    (shape) => fieldOf(shape, name)?.safeParse(undefined).data === value && value !== undefined,
  );
}

function fieldOf(shape: { [field: string]: z.ZodType }, name: string): z.ZodType | undefined {
  return Object.hasOwn(shape, name) ? shape[name] : undefined;
}

function entriesOf(json: unknown): [string, unknown][] {
  return typeof json === "object" && json !== null && !Array.isArray(json) ? Object.entries(json) : [];
}
