import type { z } from "zod";
import { nearestName } from "../../nearest-name.ts";
import type { FieldError } from "../../errors.ts";
import { AgentDocument } from "./agent.ts";
import { HumanFieldRecord } from "./human.ts";
import { OrchestrationDocument, StateField } from "./orchestration.ts";
import { Retry, stepShapes } from "./step.ts";
import { toolShapes } from "./tool.ts";

export type DefinitionKind = "orchestrations" | "agents" | "tools";

/**
 * The fields of a record: those that are read, those of the predecessor and of our own answers that may be there, and those
 * that are read in a later version. `byType`: what the record is by its `type`.
 */
type Fields = {
  what: string;
  known: ReadonlySet<string>;
  inner: { [field: string]: { of: Fields; each: "value" | "item" | "entry" } };
  later: ReadonlySet<string>;
  byType?: ReadonlyMap<string, ReadonlySet<string>>;
};

const ofShapes = (...shapes: object[]): string[] => shapes.flatMap((shape) => Object.keys(shape));

function fields(
  what: string,
  known: readonly string[],
  more: { inner?: Fields["inner"]; later?: readonly string[] } = {},
): Fields {
  const { inner = {}, later = [] } = more;
  return { what, known: new Set([...known, ...later]), inner, later: new Set(later) };
}

/**
 * Fields that a definition of the predecessor may carry and that mean nothing here: its own records of what it saved, and
 * settings without their switch. `max_turns` is written on steps of all types.
 */
const PREDECESSOR = {
  orchestrations: ["created_at", "updated_at", "edges"],
  agents: ["created_at", "updated_at", "repos", "skip_default_tools"],
  tools: ["created_at", "updated_at", "id"],
  steps: [
    "max_turns",
    "cache_response_ttl_seconds",
    "cache_response_threshold",
    "cache_tools_enabled",
    "cache_tool_ttl_seconds",
    "include_full_history",
  ],
} as const;

/** Fields that would change a run and are not built yet: refused, unless they are switched off or empty. */
const LATER = {
  agents: ["delegate_agent_ids", "db_configs", "orchestration_id"],
  steps: ["cache_responses_enabled", "cache_semantic_enabled"],
  humanFields: ["default"],
} as const;

/** Fields that our own answers add to a definition: a definition that was read may be saved as it is. */
const ANSWERED = ["version", "id"];

const step: Fields = {
  ...fields("step", [...ofShapes(...Object.values(stepShapes)), ...PREDECESSOR.steps], {
    inner: {
      retry: { of: fields("retry", ofShapes(Retry.shape)), each: "value" },
      human_fields: {
        of: fields("field", ofShapes(HumanFieldRecord.shape), { later: LATER.humanFields }),
        each: "item",
      },
    },
    later: LATER.steps,
  }),
  byType: new Map(Object.entries(stepShapes).map(([type, shape]) => [type, new Set(Object.keys(shape))])),
};

const kinds: { [Kind in DefinitionKind]: Fields } = {
  orchestrations: fields(
    "orchestration",
    [...ofShapes(OrchestrationDocument.shape), ...PREDECESSOR.orchestrations, ...ANSWERED],
    {
      inner: {
        steps: { of: step, each: "item" },
        state_schema: { of: fields("key of state", ofShapes(StateField.shape)), each: "entry" },
      },
    },
  ),
  agents: fields("agent", [...ofShapes(AgentDocument.shape), ...PREDECESSOR.agents, ...ANSWERED], {
    later: LATER.agents,
  }),
  tools: fields("tool", [...ofShapes(...Object.values(toolShapes)), ...PREDECESSOR.tools, ...ANSWERED]),
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
  return collect(json, kinds[kind], (name, value, { later }) =>
    later.has(name) && !isEmptyOrDefault(name, value) ? "is not available yet" : null,
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
  const type = entriesOf(json).find(([name]) => name === "type")?.[1];
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
  { what, known, byType }: Fields,
  type: string,
): string | null {
  if (!known.has(name)) {
    if (value === null || value === "") return null;
    const nearest = nearestName(name, known);
    const hint = nearest === null ? "" : `: did you mean "${nearest.name}"?`;
    return `is not a field of ${/^[aeiou]/.test(what) ? "an" : "a"} ${what}${hint}`;
  }
  if (byType === undefined || byType.get(type)?.has(name) !== false || isEmptyOrDefault(name, value))
    return null;
  const owners = [...byType].filter(([, names]) => names.has(name)).map(([owner]) => owner);
  return owners.length === 0 || name === "max_turns"
    ? null
    : `is a field of steps of type ${owners.join(", ")}, and this step is of type ${type}: leave it out`;
}

/** Whether a field is empty, switched off, or has the default that it gets where it is absent. */
function isEmptyOrDefault(name: string, value: unknown): boolean {
  if (value === null || value === "" || value === false) return true;
  if (typeof value === "object" && Object.keys(value).length === 0) return true;
  return Object.values(stepShapes).some(
    (shape) => fieldOf(shape, name)?.safeParse(undefined).data === value && value !== undefined,
  );
}

function fieldOf(shape: { [field: string]: z.ZodType }, name: string): z.ZodType | undefined {
  return Object.hasOwn(shape, name) ? shape[name] : undefined;
}

function entriesOf(json: unknown): [string, unknown][] {
  return typeof json === "object" && json !== null && !Array.isArray(json) ? Object.entries(json) : [];
}
