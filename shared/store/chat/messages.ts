import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { FileReference } from "../../contracts/artifact.ts";
import { RunId } from "../../contracts/ids.ts";
import type { SessionId } from "../../contracts/ids.ts";
import { ToolCalls } from "../../contracts/chat.ts";
import type { ChatHistory, ChatReply, Summary } from "../../contracts/chat.ts";
import { addDeltas, onlyText } from "../../events/delta-text.ts";
import { linesOf } from "../../events/lines.ts";
import { ofDays } from "../journal/journal-days.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The column of references to attached files. */
const Attached = jsonText(z.array(FileReference));

/** A turn reads at most so many messages, and so many characters of each. */
const MAX_MESSAGES = 200;
const MAX_CHARS = 20_000;
/** Of the calls in an answer that was cut, a turn reads at most about so many characters. */
const CALLS_CHARS = 6_000;

type HistoryRow = {
  n: number;
  base: string;
  content: string;
  images: number;
  attachments: string | null;
  covers: string | null;
  cut: boolean;
  calls: string | null;
};

/** The history before a turn, as its model gets it: the newest summary, and the newest messages that it does not cover. */
export async function readChatHistory(sql: Sql, session: SessionId, before: string): Promise<ChatHistory> {
  const rows = await sql<HistoryRow[]>`
    with summary as (
      select base, n, content, images, attachments, covers, false as cut, null as calls from chat_messages
      where session_id = ${session} and n = 1 and base < ${before} order by base desc limit 1
    ), messages as (
      select base, n, images, attachments, null as covers, case when length(content) <= ${MAX_CHARS}::int then content
        else left(content, ${MAX_CHARS}::int) || ' […]' end as content, cut, ${callsOfCut(sql)} as calls
      from chat_messages
      where session_id = ${session} and n <> 1 and base < ${before}
        and base > coalesce((select covers from summary), '')
      order by base desc, n desc limit ${MAX_MESSAGES}
    )
    select * from (select base, n, content, images, attachments, covers, cut, calls from summary
    union all select base, n, content, images, attachments, covers, cut, calls from messages) history
    order by base, n`;
  const summary = rows.find(({ n }) => n === 1);
  return {
    summary: summary ? { content: summary.content, covers: summary.covers ?? summary.base } : null,
    messages: rows
      .filter(({ n }) => n !== 1)
      .map(({ base, n, content, images, attachments, cut, calls }) => ({
        base,
        role: n === 0 ? "user" : "assistant",
        content,
        images,
        ...(attachments !== null && { attachments: Attached.parse(attachments) }),
        ...(cut && { cut, ...(calls !== null && { calls }) }),
      })),
  };
}

/** The calls of a cut answer, as the text that is stored: of a long one its beginning and its end. Null: there are none. */
function callsOfCut(sql: Sql) {
  return sql`case when not cut or tool_calls = '[]' then null
          when length(tool_calls) <= ${CALLS_CHARS}::int then tool_calls
          else left(tool_calls, ${CALLS_CHARS}::int / 2) || ' […] ' || right(tool_calls, ${CALLS_CHARS}::int / 2) end`;
}

/** Stores the summary that a turn has made. A repetition changes nothing, and a deleted session takes no summary. */
export async function saveChatSummary(
  sql: Sql,
  session: SessionId,
  base: string,
  { content, covers }: Summary,
): Promise<null> {
  await sql`
    insert into chat_messages (session_id, base, n, content, covers)
    select session_id, ${base}, 1, ${content.replaceAll("\0", "\uFFFD")}, ${covers}
    from chat_sessions where session_id = ${session} and deleted_at is null
    on conflict do nothing`;
  return null;
}

/** The event lines of a turn that are read for its text: the newest of them. */
const MAX_TEXT_ENTRIES = 5_000;
const MAX_TEXT_BYTES = 1024 * 1024;

const Line = z.object({
  type: z.string(),
  orch_step_id: z.string().optional(),
  text: z.string().optional(),
  first: z.boolean().optional(),
});

/** The text of the answer that a turn was about to give, as far as its viewers have seen it. */
export async function readTurnText(sql: Sql, run: RunId): Promise<string> {
  const rows = await sql<{ events: string }[]>`
    select events from (
      select seq, events, sum(octet_length(events)) over (order by seq desc) as bytes from (
        select seq, events from journal
        where run_id = ${run} and ${ofDays(sql, [run])} and (events like '%"llm_delta"%' or events like '%"step_retry"%')
        order by seq desc limit ${MAX_TEXT_ENTRIES}) newest) j
    where bytes <= ${MAX_TEXT_BYTES} order by seq`;
  const lines = rows.flatMap(({ events }) => linesOf(events));
  return onlyText(addDeltas(lines.map((line) => Line.parse(JSON.parse(line)))));
}

/**
 * The CTE that adds the answers of turns to the history, in the statement that ends their runs.
 * @param ended the name of the CTE that has ended runs
 */
export function insertReplies(
  sql: Sql,
  ended: PendingQuery<Row[]>,
  replies: readonly (ChatReply & { run_id: RunId })[],
) {
  if (replies.length === 0) return sql``;
  return sql`, replied as (
      insert into chat_messages (session_id, base, n, content, tool_calls, cut)
      select s.session_id, right(m.run_id, 13), 2, c.content, c.tool_calls, c.cut
      from ${ended} m join unnest(
        ${pgArray(replies.map((reply) => reply.run_id))}::text[], ${pgArray(replies.map((reply) => reply.session))}::text[],
        ${pgArray(replies.map((reply) => reply.content))}::text[],
        ${pgArray(replies.map((reply) => JSON.stringify(reply.tool_calls)))}::text[],
        ${pgArray(replies.map((reply) => String(reply.cut)))}::bool[]
      ) as c(run_id, session, content, tool_calls, cut) using (run_id)
      join chat_sessions s on s.session_id = c.session and s.deleted_at is null
      on conflict do nothing
    )`;
}

/** A message as clients see it. */
const MessageRow = z.object({
  base: z.string(),
  n: z.number(),
  run_id: RunId,
  content: z.string(),
  images: z.number(),
  attachments: Attached.nullable().transform((references) => references ?? []),
  tool_calls: jsonText(ToolCalls)
    .nullable()
    .transform((calls) => calls ?? []),
  cut: z.boolean(),
  at_ms: z.number(),
});
export type MessageRow = z.infer<typeof MessageRow>;

/** The place of a message in its session. */
export type MessagePosition = Pick<MessageRow, "base" | "n">;

/** The bytes after which a page of messages takes no further one. */
const PAGE_BYTES = 1024 * 1024;

/** A page of a session's messages, the newest first: those before a place; null: from the newest on. Summaries are left out. */
export async function readMessages(
  sql: Sql,
  session: SessionId,
  before: MessagePosition | null,
  limit: number,
): Promise<MessageRow[]> {
  const rows = await sql`
    select m.base, m.n, m.content, m.images, m.attachments, m.tool_calls, m.cut, extract(epoch from m.at)::float8 * 1000 as at_ms,
      r.run_id
    from (
      select *, sum(octet_length(content)) over (order by base desc, n desc) - octet_length(content) as bytes_before
      from (
        select * from chat_messages
        where session_id = ${session} and n <> 1
          ${before === null ? sql`` : sql`and (base, n) < (${before.base}, ${before.n}::smallint)`}
        order by base desc, n desc limit ${limit}) newest
    ) m join runs r on r.chat_session = m.session_id and right(r.run_id, 13) = m.base
    where bytes_before < ${PAGE_BYTES} order by m.base desc, m.n desc`;
  return rows.map((row) => MessageRow.parse(row));
}

/** The part of a delivery about a chat turn that comes from its session, as JSON text: `c` is the row of the delivery. */
export function turnOfDelivery(sql: Sql) {
  return sql`(select json_build_object('session_id', r.chat_session, 'agent_id', s.agent_id, 'reply', m.content,
        'tool_calls', m.tool_calls)::text
      from runs r
      left join chat_sessions s on s.session_id = r.chat_session
      left join chat_messages m on m.session_id = r.chat_session and m.base = right(r.run_id, 13) and m.n = 2
      where r.run_id = c.run_id and r.chat_session is not null) as turn`;
}
