import { laterFields, unknownFields } from "../../shared/contracts/definition/index.ts";
import type { DefinitionKind, Parsed } from "../../shared/contracts/definition/index.ts";
import { AppError, pathText } from "../../shared/errors.ts";
import { invalidFields } from "../http/problem.ts";

/**
 * Checks the definition in the body of a save. Fields that nothing reads are refused together with the other wrong fields.
 * @param isLenient fields that nothing reads are ignored
 * @throws AppError `invalid` or `not_yet`, with the path of each field
 */
export function checkDefinition<Definition>(
  kind: DefinitionKind,
  body: Record<string, unknown>,
  parse: (json: unknown) => Parsed<Definition>,
  isLenient: boolean,
): Definition {
  checkValues(body);
  const unknown = isLenient ? [] : unknownFields(kind, body);
  const later = laterFields(kind, body);
  const parsed = parse(body);
  if (parsed.ok && unknown.length + later.length === 0) return parsed.definition;
  const isInvalid = unknown.length > 0 || (!parsed.ok && parsed.code === "invalid");
  const code = isInvalid ? "invalid" : "not_yet";
  const fields = [...unknown, ...(parsed.ok ? [] : parsed.errors), ...later];
  const named = fields.map((error) => error.path || "the body").slice(0, 5);
  const what = code === "not_yet" ? "Not available yet" : "Not valid";
  throw new AppError(code, `${what}: ${named.join(", ")}.`, { fields });
}

/** The most values of a definition, those inside lists and objects included. A large orchestration has some thousands. */
const MAX_VALUES = 50_000;

type Place = { value: unknown; key: string | number; around: Place | null };

/**
 * Refuses a definition of very many values, before its checks take seconds for them, and a key `__proto__` at any depth: a parser of
 * the definition would leave it out silently. @throws AppError `invalid`
 */
function checkValues(body: Record<string, unknown>): void {
  const pending: Place[] = [{ value: body, key: "", around: null }];
  let values = 0;
  for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
    const { value } = place;
    if (typeof value !== "object" || value === null) continue;
    if (!Array.isArray(value) && Object.hasOwn(value, "__proto__")) {
      const path = pathText([...pathOf(place), "__proto__"]);
      throw invalidFields([{ path, message: "is no name for a key of a definition" }]);
    }
    for (const [key, item] of Array.isArray(value) ? value.entries() : Object.entries(value)) {
      values += 1;
      if (values > MAX_VALUES) throw invalidFields([{ path: "", message: TOO_MANY }]);
      pending.push({ value: item, key, around: place });
    }
  }
}

const TOO_MANY = `has more than ${MAX_VALUES} values, those in lists and objects included: a definition may have at most that`;

function pathOf(place: Place): (string | number)[] {
  const path: (string | number)[] = [];
  for (let at = place; at.around !== null; at = at.around) path.push(at.key);
  return path.toReversed();
}

/** The body with the path's id in `field`. The body may repeat that id. @throws AppError `invalid` for another id */
export function withId(body: Record<string, unknown>, id: string, field = "id"): Record<string, unknown> {
  if (body[field] !== undefined && body[field] !== id) {
    throw new AppError("invalid", `The ${field} in the body differs from the id in the path.`, {
      fields: [{ path: field, message: `must be ${id}, as in the path` }],
    });
  }
  return { ...body, [field]: id };
}
