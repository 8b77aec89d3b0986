/** A value as a variable of the environment writes it. */
export function variableText(value: boolean | number | string | readonly unknown[]): string {
  if (typeof value === "boolean") return value ? "1" : "0";
  return Array.isArray(value) ? value.join(",") : String(value);
}
