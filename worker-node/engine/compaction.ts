import { namesOf } from "./events.ts";
import { clip } from "./prompt.ts";
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
  compactAtChars: number;
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
  compactAtChars,
  isRefused = false,
}: Compacting): Promise<boolean> {
  const { opening, summary, recent } = conversation.parts;
  const before = charsIn(conversation);
  if (before <= compactAtChars || (conversation.hasNoSummary && !isRefused)) return false;
  const count = oldestOf(recent, compactAtChars * KEPT_SHARE);
  // The opening is never summarized. Beside a long one so little would be replaced that each turn would pay for another summary.
  if (charsOf(recent.slice(0, count)) < compactAtChars * WORTH_SHARE) return false;
  const old = recent.slice(0, count).map((message) => excerptOf(message, compactAtChars * MESSAGE_SHARE));
  // The messages before the task in the opening are the history of a chat.
  const task = opening.findLast(({ role }) => role === "user")?.content ?? "";
  const about = [task, ...(summary === null ? [] : [summary.text]), ...old].join("\n\n");
  const text = await conversation.callForSummary(model, [
    { role: "system", content: SYSTEM },
    { role: "user", content: clip(about, compactAtChars) },
  ]);
  if (text === null) return false;
  const after = charsOf(opening) + text.length + charsOf(recent.slice(count));
  context.note({
    type: "context_compacted",
    ...namesOf(step),
    message_count: count,
    chars_before: before,
    chars_after: after,
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
export function compactRefused(work: Omit<Compacting, "compactAtChars">): Promise<boolean> {
  return compact({ ...work, compactAtChars: charsIn(work.conversation) * REFUSED_SHARE, isRefused: true });
}

/** The characters of what the model gets. */
function charsIn({ parts: { opening, summary, recent } }: Conversation): number {
  return charsOf(opening) + (summary?.text.length ?? 0) + charsOf(recent);
}

/** How many of the oldest messages have to go, so that at most `keptChars` stay, or the last answer with its results alone. */
function oldestOf(messages: readonly Appended[], keptChars: number): number {
  let chars = 0;
  let first = messages.findLastIndex(({ role }) => role === "assistant");
  for (let at = messages.length - 1; at > 0; at--) {
    const message = messages[at];
    if (message === undefined) break;
    chars += charsOf([message]);
    // The kept part begins with an answer: the results of its calls follow it, and no message before belongs to it.
    if (message.role === "assistant" && chars <= keptChars) first = Math.min(first, at);
  }
  return Math.max(0, first);
}

function charsOf(messages: readonly Message[]): number {
  return messages.reduce((sum, message) => sum + JSON.stringify(withoutImages(message)).length, 0);
}

function withoutImages(message: Message): Message {
  return message.role === "user" ? { role: "user", content: message.content } : message;
}

/** A message as the text to be summarized has it, at most `chars` characters. */
function excerptOf(message: Appended, chars: number): string {
  const calls =
    message.role === "assistant"
      ? message.tool_calls.map(({ name, args }) => `${name}(${JSON.stringify(args)})`)
      : [];
  const author = message.role === "tool" ? `Result of ${message.tool_name}` : `The ${message.role}`;
  return clip([`### ${author}`, message.content, ...calls].join("\n"), chars);
}
