/**
 * The paths of the fields in `document` that `validate` never reads. Schemas of Kubernetes allow fields that they do not name, so a
 * misspelled one would be valid; but the code that checks a document reads only the fields that its schema names.
 */
export function unreadFields(document: unknown, validate: (document: unknown) => boolean): string[] {
  const unread = new Set<string>();
  validate(watched(document, "", unread));
  return [...unread];
}

/** A copy that removes the path of each field from `unread` when the field is read. */
function watched(value: unknown, path: string, unread: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [] : {};
  for (const [key, member] of Object.entries(value)) {
    const place = `${path}/${key}`;
    const inner = watched(member, place, unread);
    unread.add(place);
    Object.defineProperty(copy, key, {
      enumerable: true,
      get: () => {
        unread.delete(place);
        return inner;
      },
    });
  }
  return copy;
}
