/**
 * The text with `***` in place of these secrets, also as JSON writes them. The longest is replaced first, so that no part of
 * it stays.
 * @param minChars shorter secrets stay: to replace them would garble ordinary words
 */
export function redact(text: string, secrets: readonly string[], minChars: number): string {
  return [...new Set(secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]))]
    .filter((secret) => secret.length >= minChars)
    .toSorted((a, b) => b.length - a.length)
    .reduce((redacted, secret) => redacted.replaceAll(secret, "***"), text);
}
