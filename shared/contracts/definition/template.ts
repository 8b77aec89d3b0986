import { nearestName } from "../../nearest-name.ts";

/**
 * A placeholder in a template: `{input}` with an empty path, `{state.a.b}` with the path `["a", "b"]`, and in a loop
 * `{index}` and `{item.a}`, whose paths begin with their own name. Spaces inside the braces do not matter. Other braces are
 * plain text.
 */
export type Placeholder = {
  from: number;
  to: number;
  of: "input" | "state" | "each";
  path: readonly string[];
};

const PLACEHOLDER =
  /\{[ \t]*(?:input|state\.([A-Za-z_][\w-]*(?:\.[\w-]+)*)|(index|item(?:\.[\w-]+)*))[ \t]*\}/g;
/** A word in braces that stands alone, or that leads to something by a dot or a bracket. */
const WORD =
  /\{\s{0,10}([A-Za-z]{1,20})(?:\s{0,10}(?:(\.)\s{0,10}[^\s.{}]|(\[))[^{}]{0,100}|\s{0,10}(?=\}))\}?/g;

/** English words that are spelled almost like `state`: they are no misspellings of it. */
const OTHER_WORDS: ReadonlySet<string> = new Set([
  "stage",
  "stake",
  "stale",
  "stat",
  "stats",
  "slate",
  "skate",
]);

/** The placeholders of a template, in order. @param inLoop false: `{item}` and `{index}` are plain text */
export function placeholdersOf(template: string, inLoop = false): Placeholder[] {
  return [...template.matchAll(PLACEHOLDER)].flatMap((match): Placeholder[] => {
    const [text, ofState, ofEach] = match;
    const place = { from: match.index, to: match.index + text.length };
    if (ofState !== undefined) return [{ ...place, of: "state", path: ofState.split(".") }];
    if (ofEach === undefined) return [{ ...place, of: "input", path: [] }];
    return inLoop ? [{ ...place, of: "each", path: ofEach.split(".") }] : [];
  });
}

/**
 * Misspelled placeholders, which would be sent as text: `{inptu}`, `{State.x}`, `{state[0]}`, `{state.x!r}`. Words are
 * compared with `input` and `state` alone, so that JSON and code in a template stay text.
 */
export function almostPlaceholders(template: string): string[] {
  const exact = new Set(placeholdersOf(template).map(({ from }) => from));
  return [...template.matchAll(WORD)].flatMap((match) => {
    const [text, word = "", dot, bracket] = match;
    const leads = dot !== undefined || bracket !== undefined;
    const words = leads ? ["state", "input"] : ["input"];
    // These characters belong to a statement of a program in a prompt.
    if (OTHER_WORDS.has(word.toLowerCase()) || /[;=\n]/.test(text)) return [];
    const isNear = (nearestName(word, words)?.distance ?? 2) <= 1;
    return isNear && !exact.has(match.index) ? [text] : [];
  });
}

/** A place that looks like a placeholder and is none. `right`: the end of a sentence. `key`: the key of state in it. */
type UnfilledPlace = { place: string; right: string; key: string | null };

/** What the placeholders of a step's template may name. */
type Surroundings = {
  known: ReadonlySet<string>;
  outputs: ReadonlyMap<string, string | null>;
  inLoop: boolean;
};

const BRACES = /\{([^{}]{1,100})\}/g;
const NAME = /^[A-Za-z_][\w-]*$/;
/** Names with what people write between the parts of a path. */
const PATH = /^[A-Za-z_][\w-]*(?:\s*(?:\.+|->|::|[/:])\s*[A-Za-z_][\w-]*|\s+[A-Za-z_][\w-]*)*\.?$/;
const DOTTED = /^[A-Za-z_][\w-]*(?:\s*\.+\s*[A-Za-z_][\w-]*)*\.?$/;
const SEPARATOR = /\s*(?:\.+|->|::|[/:])\s*|\s+/;
/** The places of other systems: `<state.key>`, `[[state.key]]`, `%state.key%`, `$state.key`, `{% if state.key %}`. */
const FOREIGN = /(?:[<[%$]\s{0,5}|\{%[^{}%]{0,100}?)state\.([A-Za-z_][\w-]*)/g;
/** What other systems call the message of a run. */
const MESSAGE_NAMES: ReadonlySet<string> = new Set(["message", "user_input", "user_query", "userinput"]);

/**
 * Places of a template that go out as they are written, although they look like placeholders: `{topic}` for a key of state,
 * `{stat.topic}`, `{state-topic}`, `{draft.output}`; and placeholders of which a part stays, `{{state.topic}}` and
 * `${state.topic}`. JSON, code and prose in braces are none. Spellings that `almostPlaceholders` finds are not repeated.
 *
 * @param known the keys of state. `outputs`: the output key of each step, by the step's id. `inLoop`: a loop repeats the step
 */
export function unfilledPlaces(template: string, { known, outputs, inLoop }: Surroundings): UnfilledPlace[] {
  const exact = new Set(placeholdersOf(template, inLoop).map(({ from }) => from));
  const ofLoop = new Set(placeholdersOf(template, true).map(({ from }) => from));
  const almost = new Set(almostPlaceholders(template));
  const byLowercase = new Map([...known].map((key) => [key.toLowerCase(), key]));
  const found = new Map<string, UnfilledPlace>();
  const add = (unfilled: UnfilledPlace | null): void => {
    if (unfilled !== null) found.set(unfilled.place, unfilled);
  };
  for (const match of template.matchAll(BRACES)) {
    const [place, inner = ""] = match;
    const [before, after] = [template[match.index - 1], template[match.index + place.length]];
    if (exact.has(match.index)) add(halfFilled(place, before, after));
    else if (ofLoop.has(match.index) && !byLowercase.has(inner.trim().toLowerCase())) add(outsideLoop(place));
    else if (!almost.has(place)) add(unfilledPlace(place, inner.trim(), byLowercase, outputs));
  }
  for (const match of template.matchAll(FOREIGN)) {
    const [place, key = ""] = match;
    if (known.has(key)) add({ place, right: `goes out as it is written: write {state.${key}}`, key });
  }
  return [...found.values()];
}

function outsideLoop(place: string): UnfilledPlace {
  return {
    place,
    right: "goes out as it is written: only the steps of a loop have an item and an index",
    key: null,
  };
}

/** A placeholder with a part of another system's syntax around it, which stays. */
function halfFilled(place: string, before = "", after = ""): UnfilledPlace | null {
  if (before === "{" && after === "}") {
    return {
      place: `{${place}}`,
      right: `leaves a brace on both sides of the value: write ${place}`,
      key: null,
    };
  }
  if (before !== "$") return null;
  return {
    place: `$${place}`,
    right: `leaves a $ before the value: write ${place}, unless the $ is meant`,
    key: null,
  };
}

function unfilledPlace(
  place: string,
  inner: string,
  byLowercase: ReadonlyMap<string, string>,
  outputs: ReadonlyMap<string, string | null>,
): UnfilledPlace | null {
  const unfilled = (key: string | null, path: readonly string[] = []): UnfilledPlace => {
    const right = key === null ? "{input}, or {state.key}" : `{state.${[key, ...path].join(".")}}`;
    return { place, right: `goes out as it is written: write ${right}`, key };
  };
  const keyOf = (name = ""): string | undefined => byLowercase.get(name.toLowerCase());
  if (MESSAGE_NAMES.has(inner.toLowerCase())) {
    return { place, right: "goes out as it is written: write {input} for the message of the run", key: null };
  }
  const joined = /^state[_-]+([A-Za-z]\w*)$/i.exec(inner)?.[1];
  if (NAME.test(inner)) {
    const key = keyOf(inner);
    if (key !== undefined) return unfilled(key);
    return joined === undefined ? null : unfilled(keyOf(joined) ?? joined);
  }
  if (!PATH.test(inner)) return null;
  const [first = "", ...rest] = inner.split(SEPARATOR).filter((part) => part !== "");
  const isState = OTHER_WORDS.has(first.toLowerCase()) || (nearestName(first, ["state"])?.distance ?? 2) <= 1;
  const ofRest = keyOf(rest[0]);
  // Words with other things between them are prose, unless they name a key of state.
  if (!DOTTED.test(inner)) return isState && ofRest !== undefined ? unfilled(ofRest, rest.slice(1)) : null;
  if (isState) return unfilled(ofRest ?? rest[0] ?? null, rest.slice(1));
  const key = keyOf(first);
  if (key !== undefined) return unfilled(key, rest);
  const output = outputs.get(first) ?? outputs.get(rest[0] ?? "");
  return output === undefined || output === null ? unfilled(ofRest ?? null, rest.slice(1)) : unfilled(output);
}
