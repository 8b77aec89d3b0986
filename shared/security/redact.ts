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
    .reduce(withoutSecret, text);
}

/** Up to this product of the lengths of a text and a secret, `replaceAll` takes 3 ms at most. */
const MAX_COMPARISONS = 10_000_000;

/**
 * Where a secret and a text repeat one character, `replaceAll` compares nearly the whole secret at each character of the text: 1 s for
 * 8 KB in 1 MB, on the worker's main thread, and a tenant writes both. Longer ones are searched in linear time (Knuth, Morris, Pratt).
 */
function withoutSecret(text: string, secret: string): string {
  if (text.length * secret.length <= MAX_COMPARISONS) return text.replaceAll(secret, "***");
  const fallbacks = fallbacksOf(secret);
  const kept: string[] = [];
  let keptTo = 0;
  let matched = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    while (matched > 0 && secret.charCodeAt(matched) !== char) matched = fallbacks[matched - 1] ?? 0;
    if (secret.charCodeAt(matched) === char) matched += 1;
    if (matched < secret.length) continue;
    kept.push(text.slice(keptTo, at + 1 - secret.length));
    keptTo = at + 1;
    matched = 0;
  }
  return [...kept, text.slice(keptTo)].join("***");
}

/** For each beginning of the text: how many of its last characters begin the text too, the whole beginning not counted. */
function fallbacksOf(text: string): Uint32Array {
  const fallbacks = new Uint32Array(text.length);
  let matched = 0;
  for (let at = 1; at < text.length; at++) {
    while (matched > 0 && text.charCodeAt(matched) !== text.charCodeAt(at))
      matched = fallbacks[matched - 1] ?? 0;
    if (text.charCodeAt(matched) === text.charCodeAt(at)) matched += 1;
    fallbacks[at] = matched;
  }
  return fallbacks;
}
