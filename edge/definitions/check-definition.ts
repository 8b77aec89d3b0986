import { laterFields, unknownFields } from "../../shared/contracts/definition/index.ts";
import type { DefinitionKind, Parsed } from "../../shared/contracts/definition/index.ts";
import { AppError, pathText } from "../../shared/errors.ts";

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
  refuseProto(body);
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

/** Refuses a key `__proto__` at any depth: a parser of the definition would leave it out silently. @throws AppError `invalid` */
function refuseProto(body: Record<string, unknown>): void {
  const pending: { value: unknown; path: (string | number)[] }[] = [{ value: body, path: [] }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { value, path } = next;
    if (typeof value !== "object" || value === null) continue;
    if (!Array.isArray(value) && Object.hasOwn(value, "__proto__")) {
      const at = pathText([...path, "__proto__"]);
      const fields = [{ path: at, message: "is no name for a key of a definition" }];
      throw new AppError("invalid", `Not valid: ${at}.`, { fields });
    }
    const inner = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
    pending.push(...inner.map(([key, item]) => ({ value: item, path: [...path, key] })));
  }
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
