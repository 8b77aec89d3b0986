/** Shorter secrets are not replaced: they may be parts of ordinary words. */
const MIN_SECRET_CHARS = 4;

/**
 * The text with `***` in place of these secrets, also as JSON writes them. The longest is replaced first, so that no part of
 * it stays.
 * @param minChars shorter secrets stay
 */
export function redact(
  text: string,
  secrets: readonly string[],
  minChars: number = MIN_SECRET_CHARS,
): string {
  if (secrets.length === 0) return text;
  return [...new Set(secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]))]
    .filter((secret) => secret.length >= minChars)
    .toSorted((a, b) => b.length - a.length)
    .reduce((redacted, secret) => redacted.replaceAll(secret, "***"), text);
}
