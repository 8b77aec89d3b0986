import { z } from "zod";
import { AppError } from "../../shared/errors.ts";

/** What is shown in place of a header's value: keys and bearer tokens are written there, and every caller may read tools. */
const MASK = "********";

const WithHeaders = z.looseObject({ headers: z.record(z.string(), z.string()) });

/** A definition as it may be shown: the names of its headers, and no value. */
export function maskHeaders(definition: Record<string, unknown>): Record<string, unknown> {
  const parsed = WithHeaders.safeParse(definition);
  if (!parsed.success) return definition;
  const headers = Object.fromEntries(Object.keys(parsed.data.headers).map((name) => [name, MASK]));
  return { ...definition, headers };
}

/** Whether a definition was read, changed and sent back: then its masked headers keep the values that are stored. */
export function hasMaskedHeader(definition: Record<string, unknown>): boolean {
  const parsed = WithHeaders.safeParse(definition);
  return parsed.success && Object.values(parsed.data.headers).includes(MASK);
}

/**
 * The definition with the stored values in place of masks.
 * @param stored the same owner's definition as it is stored; null: there is none
 * @throws AppError `invalid` for a masked header that is not stored
 */
export function keepMaskedHeaders(
  definition: Record<string, unknown>,
  stored: Record<string, unknown> | null,
): Record<string, unknown> {
  const { headers } = WithHeaders.parse(definition);
  const known = WithHeaders.safeParse(stored).data?.headers ?? {};
  const kept = Object.entries(headers).map(([name, value]) => {
    if (value !== MASK) return [name, value];
    const storedValue = known[name];
    if (storedValue !== undefined) return [name, storedValue];
    const path = `headers.${name}`;
    const message = "is masked, and no value of it is stored: send the value";
    throw new AppError("invalid", `Not valid: ${path}.`, { fields: [{ path, message }] });
  });
  return { ...definition, headers: Object.fromEntries(kept) };
}
