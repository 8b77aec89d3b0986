import { nearestName } from "../../nearest-name.ts";
import { misspelledPlaceholdersIn, placeholdersOf, WORDS_LIKE_STATE } from "./template.ts";

/** A text in braces that looks like a placeholder and is none. `fault`: a sentence whose subject is that text. `key`: the key of state in it. */
type UnfilledPlace = { place: string; fault: string; key: string | null };

/** The names that the placeholders of a step's template may have. */
type Names = {
  known: ReadonlySet<string>;
  outputs: ReadonlyMap<string, string | null>;
  inLoop: boolean;
};

const BRACES = /\{([^{}]{1,100})\}/g;
const NAME = /^[A-Za-z_][\w-]*$/;
/** Names, with the separators that authors write between the parts of a path. */
const PATH = /^[A-Za-z_][\w-]*(?:\s*(?:\.+|->|::|[/:])\s*[A-Za-z_][\w-]*|\s+[A-Za-z_][\w-]*)*\.?$/;
const DOTTED = /^[A-Za-z_][\w-]*(?:\s*\.+\s*[A-Za-z_][\w-]*)*\.?$/;
const SEPARATOR = /\s*(?:\.+|->|::|[/:])\s*|\s+/;
/** Placeholders of other systems: `<state.key>`, `[[state.key]]`, `%state.key%`, `$state.key`, `{% if state.key %}`. */
const FOREIGN = /(?:[<[%$]\s{0,5}|\{%[^{}%]{0,100}?)state\.([A-Za-z_][\w-]*)/g;
/** The names that other systems give to the message of a run. */
const MESSAGE_NAMES: ReadonlySet<string> = new Set(["message", "user_input", "user_query", "userinput"]);

/**
 * Texts of a template that go out as they are written, although they look like placeholders: `{topic}` for a key of state,
 * `{stat.topic}`, `{state-topic}`, `{draft.output}`; and placeholders of which a part stays, `{{state.topic}}` and
 * `${state.topic}`. JSON, code and prose in braces do not look like one. Spellings that `misspelledPlaceholdersIn` finds are not repeated.
 *
 * @param names `known`: the keys of state; `outputs`: the output key of each step, by the step's id; `inLoop`: a loop repeats the step
 */
export function unfilledPlaceholders(template: string, { known, outputs, inLoop }: Names): UnfilledPlace[] {
  const exact = new Set(placeholdersOf(template, inLoop).map(({ from }) => from));
  const ofLoop = new Set(placeholdersOf(template, true).map(({ from }) => from));
  const almost = new Set(misspelledPlaceholdersIn(template));
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
    if (known.has(key)) add({ place, fault: `goes out as it is written: write {state.${key}}`, key });
  }
  return [...found.values()];
}

function outsideLoop(place: string): UnfilledPlace {
  return {
    place,
    fault: "goes out as it is written: only the steps of a loop have an item and an index",
    key: null,
  };
}

/** A placeholder in the syntax of another system, a part of which stays around the value. */
function halfFilled(place: string, before = "", after = ""): UnfilledPlace | null {
  if (before === "{" && after === "}") {
    return {
      place: `{${place}}`,
      fault: `leaves a brace on both sides of the value: write ${place}`,
      key: null,
    };
  }
  if (before !== "$") return null;
  return {
    place: `$${place}`,
    fault: `leaves a $ before the value: write ${place}, unless the $ belongs to the text`,
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
    const instead = key === null ? "{input}, or {state.key}" : `{state.${[key, ...path].join(".")}}`;
    return { place, fault: `goes out as it is written: write ${instead}`, key };
  };
  const keyOf = (name = ""): string | undefined => byLowercase.get(name.toLowerCase());
  if (MESSAGE_NAMES.has(inner.toLowerCase())) {
    return { place, fault: "goes out as it is written: write {input} for the message of the run", key: null };
  }
  const joined = /^state[_-]+([A-Za-z]\w*)$/i.exec(inner)?.[1];
  if (NAME.test(inner)) {
    const key = keyOf(inner);
    if (key !== undefined) return unfilled(key);
    return joined === undefined ? null : unfilled(keyOf(joined) ?? joined);
  }
  if (!PATH.test(inner)) return null;
  const [first = "", ...rest] = inner.split(SEPARATOR).filter((part) => part !== "");
  const isState =
    WORDS_LIKE_STATE.has(first.toLowerCase()) || (nearestName(first, ["state"])?.distance ?? 2) <= 1;
  const ofRest = keyOf(rest[0]);
  // Words with other things between them are prose, unless they name a key of state.
  if (!DOTTED.test(inner)) return isState && ofRest !== undefined ? unfilled(ofRest, rest.slice(1)) : null;
  if (isState) return unfilled(ofRest ?? rest[0] ?? null, rest.slice(1));
  const key = keyOf(first);
  if (key !== undefined) return unfilled(key, rest);
  const output = outputs.get(first) ?? outputs.get(rest[0] ?? "");
  return output === undefined || output === null ? unfilled(ofRest ?? null, rest.slice(1)) : unfilled(output);
}
