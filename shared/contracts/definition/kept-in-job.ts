/** The most characters of texts that are looked up: the code of one definition. */
const MAX_CHARS = 300_000;

/**
 * A function of a text whose latest values are made once and shared, so that nothing may change them. A WeakRef keeps its value until the
 * end of the job that made it (ECMA-262, 9.10): all checks of a save share one value for each text, and none stays in memory after it.
 * The trees of one definition's code may take 15 MB.
 */
export function keptInJob<Value extends object>(make: (text: string) => Value): (text: string) => Value {
  const values = new Map<string, WeakRef<Value>>();
  let chars = 0;
  return (text) => {
    const known = values.get(text);
    const kept = known?.deref();
    if (kept !== undefined) return kept;
    const value = make(text);
    if (known === undefined) chars += text.length;
    if (chars > MAX_CHARS) {
      values.clear();
      chars = text.length;
    }
    values.set(text, new WeakRef(value));
    return value;
  };
}
