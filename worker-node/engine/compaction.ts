import { namesOf } from "./events.ts";
import { clipBytes } from "./prompt.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Conversation } from "./conversation.ts";
import type { Appended } from "./conversation-turns.ts";
import type { Message, StepContext } from "./ports.ts";

/** The part of the limit that the newest messages may keep. */
const KEPT_SHARE = 0.3;
/** The part of the limit that a summary must at least replace. */
const WORTH_SHARE = 0.2;
/** The part of the limit that one message may have in the text to be summarized. */
const MESSAGE_SHARE = 0.1;

/** The part of a refused conversation that counts as the limit. The window is near what was sent: the request before was taken. */
const REFUSED_SHARE = 0.5;

const SYSTEM =
  "An agent works on the task below, and its conversation has become too long. Summarize what it has done and found, so that it " +
  "can go on without the conversation: facts, names, numbers and addresses exactly, decisions with their reasons, what " +
  "was tried in vain, and what is left to do. Write the summary alone.";
const HEADING = "## Summary of your work on this task so far";

type Compacting = {
  step: Step;
  context: StepContext;
  conversation: Conversation;
  model: string | null;
  compactAtBytes: number;
  /** The model has refused the request for the next answer as too long. */
  isRefused?: boolean;
};

/**
 * Replaces the oldest messages of a conversation that has passed its limit by a summary, which the same model makes. The
 * summary is a checkpoint, so a crash does not pay it twice. The opening stays, and an answer and the results of its tool calls
 * stay together. A conversation of one answer, or of which the model makes no summary, cannot be made shorter.
 * @returns false: nothing was replaced
 */
export async function compact({
  step,
  context,
  conversation,
  model,
  compactAtBytes,
  isRefused = false,
}: Compacting): Promise<boolean> {
  const { opening, summary, recent } = conversation.parts;
  if (sizeIn(conversation) <= compactAtBytes || (conversation.hasNoSummary && !isRefused)) return false;
  const count = oldestOf(recent, compactAtBytes * KEPT_SHARE);
  // The opening is never summarized. Beside a long one so little would be replaced that each turn would pay for another summary.
  if (sizeOf(recent.slice(0, count)) < compactAtBytes * WORTH_SHARE) return false;
  const old = recent.slice(0, count).map((message) => excerptOf(message, compactAtBytes * MESSAGE_SHARE));
  // The messages before the task in the opening are the history of a chat.
  const task = opening.findLast(({ role }) => role === "user")?.content ?? "";
  const about = [task, ...(summary === null ? [] : [summary.text]), ...old].join("\n\n");
  const text = await conversation.callForSummary(model, [
    { role: "system", content: SYSTEM },
    { role: "user", content: clipBytes(about, compactAtBytes) },
  ]);
  if (text === null) return false;
  const kept = sizeOf(opening, charsOf) + sizeOf(recent.slice(count), charsOf);
  context.note({
    type: "context_compacted",
    ...namesOf(step),
    message_count: count,
    chars_before: sizeIn(conversation, charsOf),
    chars_after: kept + text.length,
  });
  await conversation.commit({
    summary: {
      text: `${HEADING}\n${text}`,
      until: (summary?.until ?? 0) + count,
      ...(isRefused ? { refused: true } : {}),
    },
  });
  return true;
}

/**
 * Compacts a conversation that its model has refused as too long: the window was not known, or smaller than its estimate.
 * @returns false: it cannot be made shorter
 */
export function compactRefused(work: Omit<Compacting, "compactAtBytes">): Promise<boolean> {
  return compact({ ...work, compactAtBytes: sizeIn(work.conversation) * REFUSED_SHARE, isRefused: true });
}

/** The size of what the model gets: in bytes, or in the unit of `measure`. */
function sizeIn({ parts: { opening, summary, recent } }: Conversation, measure = bytesOf): number {
  return sizeOf(opening, measure) + measure(summary?.text ?? "") + sizeOf(recent, measure);
}

/** How many of the oldest messages have to go, so that at most `keptBytes` stay, or the last answer with its results alone. */
function oldestOf(messages: readonly Appended[], keptBytes: number): number {
  let bytes = 0;
  let first = messages.findLastIndex(({ role }) => role === "assistant");
  for (let at = messages.length - 1; at > 0; at--) {
    const message = messages[at];
    if (message === undefined) break;
    bytes += sizeOf([message]);
    // The kept part begins with an answer: the results of its calls follow it, and no message before belongs to it.
    if (message.role === "assistant" && bytes <= keptBytes) first = Math.min(first, at);
  }
  return Math.max(0, first);
}

function sizeOf(messages: readonly Message[], measure = bytesOf): number {
  return messages.reduce((sum, message) => sum + measure(JSON.stringify(withoutImages(message))), 0);
}

function bytesOf(text: string): number {
  return Buffer.byteLength(text);
}

function charsOf(text: string): number {
  return text.length;
}

function withoutImages(message: Message): Message {
  return message.role === "user" ? { role: "user", content: message.content } : message;
}

/** A message as the text to be summarized has it, at most `bytes` bytes. */
function excerptOf(message: Appended, bytes: number): string {
  const calls =
    message.role === "assistant"
      ? message.tool_calls.map(({ name, args }) => `${name}(${JSON.stringify(args)})`)
      : [];
  const author = message.role === "tool" ? `Result of ${message.tool_name}` : `The ${message.role}`;
  return clipBytes([`### ${author}`, message.content, ...calls].join("\n"), bytes);
}
