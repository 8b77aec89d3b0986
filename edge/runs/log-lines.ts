import { z } from "zod";
import type { RunId } from "../../shared/contracts/ids.ts";
import { eventJson, linesOf } from "../../shared/events/lines.ts";
import type { EntryLines } from "../../shared/events/lines.ts";
import { inOneLine } from "../../shared/text/one-line.ts";

export type LogFormat = "text" | "ndjson";

const Event = z.looseObject({ type: z.string(), ts: z.string() });

/** The lines of an entry's events in the log of a run. */
export function logLinesOf(run: RunId, entry: EntryLines, format: LogFormat): string {
  const first = entry.seq - entry.events_n + 1;
  return linesOf(entry.events)
    .map((line, i) => {
      const json = eventJson(run, first + i, line);
      return format === "ndjson" ? `${json}\n` : textLineOf(json);
    })
    .join("");
}

/** `<time> <type> <step> <fields>`. Empty for a piece of a model's text: another event has the whole text. */
function textLineOf(json: string): string {
  const { ts, type, run_id: _run, seq: _seq, correlation_id: _id, ...fields } = Event.parse(JSON.parse(json));
  if (type === "llm_delta") return "";
  const { path, orch_step_id, ...rest } = fields;
  const step = [path, orch_step_id].find((name) => typeof name === "string") ?? "-";
  const more = Object.keys(rest).length === 0 ? "" : ` ${inOneLine(JSON.stringify(rest))}`;
  return `${ts} ${type} ${step}${more}\n`;
}
