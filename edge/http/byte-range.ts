/** A part of a body. */
export type ByteRange = { offset: number; length: number };

/**
 * The range that a Range header selects (RFC 9110, 14.2). Null: the whole body. A header with several ranges, or with anything else
 * than a range of bytes, also gives null: a server may ignore it. `unsatisfiable`: the range begins after the end.
 * @param size the bytes of the whole body
 */
export function byteRangeOf(header: string | undefined, size: number): ByteRange | "unsatisfiable" | null {
  const [, first = "", last = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "") ?? [];
  if (first === "" && last === "") return null;
  if (first === "") {
    const length = Math.min(Number(last), size);
    return length === 0 ? "unsatisfiable" : { offset: size - length, length };
  }
  const offset = Number(first);
  if (last !== "" && Number(last) < offset) return null;
  if (offset >= size) return "unsatisfiable";
  const end = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return { offset, length: end - offset + 1 };
}
