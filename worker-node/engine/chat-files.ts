import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { ChatHistory, Summary } from "../../shared/contracts/chat.ts";
import { clip } from "./prompt.ts";
import type { AttachedFile, Message } from "./ports.ts";

/** Characters of one attached file that go to the model. */
const FILE_CHARS = 50_000;
/** The most files that a summary names. */
const SUMMARY_FILES = 50;
const FILES_HEADING = "\n\nFiles that the user attached:\n";

/** A message of the history of a session, as the store returns it. */
export type HistoryMessage = ChatHistory["messages"][number];

/** A message with the texts of its files, and the names of its images. The tool `artifact_read` has the rest of a long text. */
export function withTexts(message: string, attached: readonly AttachedFile[]): string {
  const sections = attached.map((each) => {
    const title = `## Attached file ${described(each.file)}`;
    return "text" in each
      ? `${title}\n${clip(each.text, FILE_CHARS)}`
      : `${title}\n[an image of this message]`;
  });
  return [...(message.trim() === "" && sections.length > 0 ? [] : [message]), ...sections].join("\n\n");
}

/**
 * A message of an earlier turn. Its images and files are named, and not sent again. An answer that was cut says so, with the calls that
 * its turn had asked for: a model that does not know them would make them once more.
 */
export function toMessage({ role, content, images, attachments = [], cut, calls }: HistoryMessage): Message {
  const notes = [
    ...(images === 0 ? [] : [`with ${images} image(s), not shown again`]),
    ...attachments.map((file) => `with the file ${described(file)}, not shown again`),
    ...(cut ? ["this answer was cut off here"] : []),
    ...(calls === undefined ? [] : [`before that it called tools, which may have done their work: ${calls}`]),
  ];
  const text = content === "" ? [] : [content];
  return { role, content: [...text, ...notes.map((note) => `[${note}]`)].join("\n") };
}

/** The files of what a summary replaces, the newest ones: a model could leave them out, or change their ids. */
export function filesIn(earlier: Summary | null, old: readonly HistoryMessage[]): string {
  const before = earlier?.content.split(FILES_HEADING)[1]?.split("\n") ?? [];
  const files = old.flatMap(({ attachments = [] }) => attachments.map((file) => `- ${described(file)}`));
  const named = [...new Set([...before, ...files])].slice(-SUMMARY_FILES);
  return named.length === 0 ? "" : `${FILES_HEADING}${named.join("\n")}`;
}

/** A file as messages name it. Its id is what `artifact_read` takes. */
function described({ name, content_type, $ref }: FileReference): string {
  return `${JSON.stringify(name)} (${content_type}, ${$ref.slice($ref.lastIndexOf("/") + 1)})`;
}
