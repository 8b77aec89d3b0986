import { percentDecoded } from "./percent-decoded.ts";

/**
 * The file name of a `Content-Disposition` (RFC 6266): that of `filename*`, which has all letters, else that of `filename`. Undefined: it
 * has none.
 */
export function dispositionName(disposition: string): string | undefined {
  const encoded = /;\s*filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)/i.exec(disposition)?.[1];
  // An upload with an empty name is refused, and the error names the header.
  if (encoded !== undefined) return percentDecoded(encoded) ?? "";
  const quoted = /;\s*filename\s*=\s*"((?:[^"\\]|\\.)*)"/i.exec(disposition)?.[1];
  if (quoted !== undefined) return quoted.replaceAll(/\\(.)/g, "$1");
  // Names with spaces come without quotes too.
  return /;\s*filename\s*=\s*([^;"]+)/i.exec(disposition)?.[1]?.trim();
}
