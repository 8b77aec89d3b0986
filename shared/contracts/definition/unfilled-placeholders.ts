import { nearestName } from "../../text/nearest-name.ts";
import { misspelledPlaceholdersIn, placeholdersOf, WORDS_LIKE_STATE } from "./template.ts";

/** A text in braces that looks like a placeholder and is none. `fault`: a sentence whose subject is that text. `key`: the key of state in it. */
type UnfilledPlace = { place: string; fault: string; key: string | null };

/** The names that the placeholders of a step's template may have. */
type Names = {
  known: ReadonlySet<string>;
  byLowercase: ReadonlyMap<string, string>;
  outputs: ReadonlyMap<string, string | null>;
  inLoop: boolean;
};

const BRACES = /\{([^{}]{1,100})\}/g;
const NAME = /^[A-Za-z_][\w-]*$/;
/** Names, with the separators that authors write between the parts of a path. */
const PATH = /^[A-Za-z_][\w-]*(?:\s*(?:\??\.+|->|::|[/:])\s*[A-Za-z_][\w-]*|\s+[A-Za-z_][\w-]*)*\.?$/;
const DOTTED = /^[A-Za-z_][\w-]*(?:\s*\??\.+\s*[A-Za-z_][\w-]*)*\.?$/;
const SEPARATOR = /\s*(?:\??\.+|->|::|[/:])\s*|\s+/;
/** What other languages write before a name (`$.name`, `@name`, `"name"`), and after it (`name?`, `name!r`, `name:.2f`, `name[0]`, `name | upper`). */
const LEAD = /^(?:[$@#=!&*~^%]\.?|\.(?!\.)|['"`([<-])\s*/;
const TRAIL = /(?:\s*\|[^|].*|![a-z]|:[<>^=+,.]\S*|\[[^[\]]*\]|[?!'"`)\]>])$/s;
/**
 * Placeholders of other systems: `<state.key>`, `[[state.key]]`, `%state.key%`, `$state.key`, `{% if state.key %}`, `<%= state.key %>`,
 * `{upper(state.key)}`.
 */
const FOREIGN =
  /(?:[<[%$]\s{0,5}|<%[=-]?\s{0,5}|\{%[^{}%]{0,100}?|\{\s{0,5}[\w.]{1,40}\(\s{0,5})state\.([A-Za-z_][\w-]*)/g;
/** Blocks and code of other systems: `{{#if key}}`, `{% for x in y %}`, `<% code %>`. */
const BLOCK =
  /\{\{[#^>]\s{0,5}[A-Za-z][^{}]{0,100}\}\}|\{%-?\s{0,5}[A-Za-z][^{}%]{0,100}%\}|<%[=-]?\s{0,5}[A-Za-z][^<>%]{0,100}%>/;
/** Placeholders in the wide braces and dots of East Asian keyboards. */
const WIDE = /[{｛]\s{0,5}(input|state[.．。][A-Za-z_][\w-]{0,100})\s{0,5}[}｝]/giu;
/** The names that other systems give to the message of a run, without what divides their words. */
const MESSAGE_NAMES: ReadonlySet<string> = new Set([
  "input",
  "message",
  "query",
  "question",
  "userinput",
  "usermessage",
  "userprompt",
  "userquery",
]);
/** Facts of a run, and the time: other systems have placeholders for them, and a definition may have keys of these names. */
const RUN_NAMES: ReadonlySet<string> = new Set([
  "correlation_id",
  "now",
  "orchestration_id",
  "run_id",
  "session_id",
  "tenant_id",
  "today",
]);
/** The keys of state that hold that message in every run. A definition that has another of these names as a key means its own value. */
const MESSAGE_KEYS: ReadonlySet<string> = new Set(["user_input", "user_query"]);

/**
 * Texts of a template that go out as they are written, although they look like placeholders: `{topic}` for a key of state,
 * `{stat.topic}`, `{state-topic}`, `{draft.output}`; and placeholders of which a part stays, `{{state.topic}}` and
 * `${state.topic}`; places with what other languages write around a name, `{$.state.topic}` and `{input | trim}`, and the blocks of other
 * template languages. JSON, code and prose in braces do not look like one. Spellings that `misspelledPlaceholdersIn` finds are not repeated.
 *
 * @param names `known`: the keys of state, and `byLowercase` each of them by itself in lower case; `outputs`: the output key of each step, by the step's id; `inLoop`: a loop repeats the step
 */
export function unfilledPlaceholders(
  template: string,
  { known, byLowercase, outputs, inLoop }: Names,
): UnfilledPlace[] {
  const exact = new Set(placeholdersOf(template, inLoop).map(({ from }) => from));
  const ofLoop = new Set(placeholdersOf(template, true).map(({ from }) => from));
  const almost = new Set(misspelledPlaceholdersIn(template));
  const found = new Map<string, UnfilledPlace>();
  const add = (unfilled: UnfilledPlace | null): void => {
    if (unfilled !== null) found.set(unfilled.place, unfilled);
  };
  for (const match of template.matchAll(BRACES)) {
    const [place, inner = ""] = match;
    const [before, after] = [template[match.index - 1], template[match.index + place.length]];
    if (exact.has(match.index)) add(halfFilled(place, before, after));
    else if (ofLoop.has(match.index) && !byLowercase.has(inner.trim().toLowerCase())) add(outsideLoop(place));
    else if (!almost.has(place)) add(unfilledPlace(place, undecorated(inner), byLowercase, outputs));
  }
  for (const match of template.matchAll(FOREIGN)) {
    const [place, key = ""] = match;
    if (known.has(key)) add({ place, fault: `goes out as it is written: write {state.${key}}`, key });
  }
  for (const match of template.matchAll(WIDE)) add(widePlace(match));
  // One of them shows that the template is written for another system; a place in it that is reported already says more.
  const block = BLOCK.exec(template)?.[0];
  if (block !== undefined && ![...found.keys()].some((place) => block.includes(place))) add(blockOf(block));
  return [...found.values()];
}

function widePlace([place, name = ""]: RegExpExecArray): UnfilledPlace | null {
  if (!/[｛｝．。]/.test(place)) return null;
  const [, key = null] = name.split(/[.．。]/);
  const instead = key === null ? "{input}" : `{state.${key}}`;
  return { place, fault: `goes out as it is written: write ${instead}, with ASCII braces and dots`, key };
}

function blockOf(place: string): UnfilledPlace {
  const instead = "write {state.key}, and make what depends on a condition in a transform";
  return {
    place,
    fault: `goes out as it is written, as templates have no blocks and no code: ${instead}`,
    key: null,
  };
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

/** What is in a pair of braces, without what other languages write around a name. */
function undecorated(inner: string): string {
  const name = inner.trim().replace(LEAD, "");
  return name.replace(TRAIL, "").trim();
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
  const isOwnKey = keyOf(inner) !== undefined && !MESSAGE_KEYS.has(inner.toLowerCase());
  if (!isOwnKey && MESSAGE_NAMES.has(inner.toLowerCase().replaceAll(/[\s_-]+/g, ""))) {
    return { place, fault: "goes out as it is written: write {input} for the message of the run", key: null };
  }
  if (inner.toLowerCase() === "state" && keyOf(inner) === undefined) {
    return { place, fault: "goes out as it is written: write {state.key} for a value of state", key: null };
  }
  if (RUN_NAMES.has(inner.toLowerCase()) && keyOf(inner) === undefined) {
    return {
      place,
      fault: "goes out as it is written: the run's state has it when the request or a step puts it there",
      key: null,
    };
  }
  const joined = /^state[_-]+([A-Za-z]\w*)$/i.exec(inner)?.[1];
  if (NAME.test(inner)) {
    const key = keyOf(inner) ?? outputs.get(inner);
    if (key !== undefined && key !== null) return unfilled(key);
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
