/** The text form of a Cap'n Proto value, in which `workerd serve` reads its configuration. */

/**
 * The content of a file, which workerd reads. A relative path starts at the configuration's folder, an absolute one at the
 * folder of `-I`.
 */
export class Embed {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }
}

/** A struct is an object; a union has only the member that is set. Members that are undefined are left out. */
export type Capnp =
  | string
  | boolean
  | Embed
  | readonly Capnp[]
  | { readonly [member: string]: Capnp | undefined };

/** The text of a value. All texts in it are quoted, so that no value can become syntax. */
export function capnpText(value: Capnp): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value === "boolean") return String(value);
  if (value instanceof Embed) return `embed ${quoted(value.path)}`;
  if (isList(value)) return `[${value.map(capnpText).join(", ")}]`;
  const members = Object.entries(value).flatMap(([name, member]) =>
    member === undefined ? [] : [`${name} = ${capnpText(member)}`],
  );
  return `(${members.join(", ")})`;
}

function isList(value: Capnp): value is readonly Capnp[] {
  return Array.isArray(value);
}

/** A text in quotation marks. Bytes outside of printable ASCII are written as `\xHH`: the parser has no other form for them. */
function quoted(text: string): string {
  const bytes = Array.from(Buffer.from(text), (byte) => {
    if (byte === 0x22 || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
    return byte >= 0x20 && byte < 0x7f
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, "0")}`;
  });
  return `"${bytes.join("")}"`;
}
