/**
 * Texts of event lines that are stored as one character each, by the number of that character. A journal holds these numbers: an entry
 * of this table is never changed. JSON has no such character, so a line that begins with one is coded, and only such a line is. 10 and 30
 * are no codes: a line feed ends a line, and U+001E separates the texts of a flush.
 */
const TEXTS = new Map([
  [1, '{"type":"step_start","orch_step_id":"'],
  [2, '{"type":"step_complete","orch_step_id":"'],
  [3, '{"type":"final","response":'],
  [4, '","step_name":"'],
  [5, '","step_type":"'],
  [6, '","duration_seconds":'],
  [7, ',"intent":"'],
  [8, '","data":null,"tool_name":null,"orch_step_id":"'],
  [9, ',"ts":"'],
  [11, '","correlation_id":"'],
  [12, '{"type":"orchestration_complete","status":"completed","final_state":{"user_input":"'],
  [13, '","user_query":"'],
  [14, ',"intent":"orchestration","data":{"run_id":"'],
  [15, '","status":"completed","step_history":['],
  [16, '{"step_id":"'],
  [17, '","status":"completed","started_at":"'],
  [18, '","ended_at":"'],
  [19, ',"output_key":'],
  [20, '],"step_count":'],
  [21, '{"type":"tool_execution","orch_step_id":"'],
  [22, '{"type":"tool_result","orch_step_id":"'],
  [23, '","tool_name":"'],
  [24, '{"type":"worker_picked_up","worker_id":"'],
  [25, '{"type":"orchestration_start","orchestration_id":"'],
  [26, '","orchestration_name":"'],
  [27, '{"type":"'],
]);
/** Stands for the response of the `final` line before, at its next place in a line. */
const RESPONSE = "\u001d";
/** Stands for the end of the run's `final` line, which has the state of the line before: `orchestration_complete`. */
const STATE = "\u001f";

type Text = { code: string; text: string };
/** The texts that are looked for in a line, in this order. To find one too few makes a line longer, and no other line. */
const textsOf = (...codes: readonly number[]): Text[] =>
  codes.map((code) => ({ code: String.fromCharCode(code), text: TEXTS.get(code) ?? "" }));
const IN_LINES = new Map([
  ["step_start", textsOf(1, 4, 5)],
  ["step_complete", textsOf(2, 4, 6)],
  ["final", textsOf(3, 7, 8, 4)],
  ["orchestration_complete", textsOf(12, 13)],
  ["tool_execution", textsOf(21, 4, 23)],
  ["tool_result", textsOf(22, 4, 23)],
  ["worker_picked_up", textsOf(24)],
  ["orchestration_start", textsOf(25, 26)],
]);
const IN_OTHERS = textsOf(27, 4);
const IN_LAST_FINAL = textsOf(3, 14, 15);
const IN_HISTORY = textsOf(16, 4, 5, 17, 18, 6, 19);
const AFTER_HISTORY = textsOf(20);
const AT_END = textsOf(9, 11);

const BEFORE_TYPE = '{"type":"';
/** What statements look for in the journal, and what the archive joins: these lines stay as they are. */
const READ_AS_TEXT = /^(?:llm_|step_retry$)/;
const ANY_CODE = new RegExp(
  `[${Array.from(TEXTS.keys(), (code) => String.fromCharCode(code)).join("")}]`,
  "g",
);
const BEGINS_CODED = new RegExp(`\n${ANY_CODE.source}`);

const BEFORE_STATE = '"final_state":';
const [STATE_FROM, STATE_TO] = [',"shared_state":', '},"tool_name":null,'];
const BEFORE_RESPONSE = '{"type":"final","response":';
/** A shorter response is in most cases in few places, and often by chance. */
const LONG_CHARS = 64;

/**
 * The lines of one entry with their common texts as one character each, and with the state and a long response once. `decodedLines`
 * gives the very same lines back, also when entries are joined: a coded line refers to lines of its entry alone.
 */
export function codedLines(lines: readonly string[]): string[] {
  const shown = new Shown();
  return lines.map((line) => {
    const coded = codedLine(line, shown);
    shown.add(line);
    return coded;
  });
}

/** Stored lines as they were before `codedLines`: lines of versions that did not code them stay as they are. */
export function decodedLines(lines: readonly string[]): string[] {
  const shown = new Shown();
  return lines.map((line) => {
    const decoded = isCoded(line) ? shown.withTexts(line.replace(ANY_CODE, textOf)) : line;
    shown.add(decoded);
    return decoded;
  });
}

/** Whether some of the lines of stored events may be coded. */
export function mayBeCoded(events: string): boolean {
  return isCoded(events) || BEGINS_CODED.test(events);
}

function isCoded(line: string): boolean {
  return line.charCodeAt(0) < 32;
}

function textOf(code: string): string {
  return TEXTS.get(code.charCodeAt(0)) ?? code;
}

function codedLine(line: string, shown: Shown): string {
  if (!line.startsWith(BEFORE_TYPE)) return line;
  const type = line.slice(BEFORE_TYPE.length, line.indexOf('"', BEFORE_TYPE.length));
  if (READ_AS_TEXT.test(type)) return line;
  const coded = new Coded(shown.withReferences(line));
  if (type === "final" && coded.endsWith(STATE)) {
    coded.take(IN_LAST_FINAL);
    while (coded.take(IN_HISTORY));
    coded.take(AFTER_HISTORY);
  } else {
    coded.take(IN_LINES.get(type) ?? IN_OTHERS);
    if (!coded.endsWith(",")) coded.take(AT_END);
  }
  // Without a character at its beginning a line is not coded.
  return coded.beginsCoded ? coded.whole : line;
}

/** A line whose texts are replaced from its beginning to its end. */
class Coded {
  readonly #line: string;
  #coded = "";
  #from = 0;

  constructor(line: string) {
    this.#line = line;
  }

  get whole(): string {
    return this.#coded + this.#line.slice(this.#from);
  }

  get beginsCoded(): boolean {
    return isCoded(this.#coded);
  }

  endsWith(text: string): boolean {
    return this.#line.endsWith(text);
  }

  /** Replaces the next place of each text in turn. @returns whether there was one of the first text */
  take(texts: readonly Text[]): boolean {
    let hasFirst = false;
    for (const each of texts) {
      const at = this.#line.indexOf(each.text, this.#from);
      if (at < 0) {
        if (each === texts[0]) break;
        continue;
      }
      hasFirst = true;
      this.#coded += this.#line.slice(this.#from, at) + each.code;
      this.#from = at + each.text.length;
    }
    return hasFirst;
  }
}

/** What the lines so far have shown that a later one may show again. */
class Shown {
  #response: string | null = null;
  #stateEnd: string | null = null;

  add(line: string): void {
    this.#response = responseOf(line) ?? this.#response;
    this.#stateEnd = stateEndOf(line);
  }

  withReferences(line: string): string {
    const end = this.#stateEnd;
    const once = end !== null && line.endsWith(end) ? line.slice(0, -end.length) + STATE : line;
    const response = this.#response;
    const at = response === null ? -1 : once.indexOf(response);
    return response === null || at < 0
      ? once
      : once.slice(0, at) + RESPONSE + once.slice(at + response.length);
  }

  /** The reverse of `withReferences`, in the reverse order. A response may have any characters: none of them is special. */
  withTexts(line: string): string {
    const whole = line.replace(RESPONSE, () => this.#response ?? RESPONSE);
    return whole.endsWith(STATE) ? whole.slice(0, -1) + (this.#stateEnd ?? STATE) : whole;
  }
}

/** The long response of a step's `final` line, as JSON; null: there is none. */
function responseOf(line: string): string | null {
  if (!line.startsWith(BEFORE_RESPONSE)) return null;
  const end = line.indexOf(',"intent":"', BEFORE_RESPONSE.length);
  return end - BEFORE_RESPONSE.length < LONG_CHARS ? null : line.slice(BEFORE_RESPONSE.length, end);
}

/** How the run's `final` line ends after this line, if this line shows the run's last state. */
function stateEndOf(line: string): string | null {
  if (!line.startsWith('{"type":"orchestration_complete"') || !line.endsWith("},")) return null;
  const state = line.slice(line.indexOf(BEFORE_STATE) + BEFORE_STATE.length, -1);
  return STATE_FROM + state + STATE_TO;
}
