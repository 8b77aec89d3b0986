import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { FileReference } from "../../../shared/contracts/artifact.ts";
import { ToolCalls } from "../../../shared/contracts/chat.ts";
import { RunId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { readMessages } from "../../../shared/store/chat/messages.ts";
import type { MessagePosition, MessageRow } from "../../../shared/store/chat/messages.ts";
import type { SessionRow } from "../../../shared/store/chat/sessions.ts";
import { readRun } from "../../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import {
  findSession,
  SESSION_PATH,
  SessionParams,
  SessionView,
  sessionViewOf,
} from "../../chat/session-view.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { isoTime } from "../../../shared/text/iso-time.ts";
import { PageQuery, badCursor } from "../../http/paging.ts";
import { RunWait, readRelated, waitsOf } from "../../runs/run-waits.ts";
import { queryInteger } from "../../http/query-integer.ts";

const Message = z
  .object({
    role: z.enum(["user", "assistant"]),
    content: z.string(),
    turn_id: RunId,
    at: z.iso.datetime(),
    /** Of a user's message: how many images it had. */
    images: z.number().int(),
    /** Of a user's message: its files. Each `url` opens one with a key that may read the session. */
    attachments: z.array(FileReference),
    tool_calls: ToolCalls,
    /** The turn ended before its answer did, by a cancel or a failure: this is the text so far. */
    cut: z.boolean(),
  })
  .meta({ id: "ChatMessage" });

const SessionWithMessages = SessionView.extend({
  /** What the turn waits for, as its run shows it. `POST /orchestrations/runs/{turn_id}/resume` answers a question. */
  waits: z.array(RunWait),
  messages: z.array(Message),
  next_cursor: z.string().nullable(),
}).meta({ id: "ChatSessionWithMessages" });

const route = createRoute({
  method: "get",
  path: `${SESSION_PATH}/status`,
  operationId: "getChatSession",
  tags: ["Chat"],
  summary: "Get a session with its history",
  description:
    "`messages` are the newest `limit` ones, fewer when they are long, in the order in which they were said. While there is a " +
    "`next_cursor`, there are earlier ones.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: SessionParams,
    query: PageQuery.extend({ limit: queryInteger(1, 200).default(100) }),
  },
  responses: { 200: json(SessionWithMessages, "The session"), ...problems(400, 404) },
});

export function getSession(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const { cursor, limit } = c.req.valid("query");
    const session = await findSession(sql, c.get("principal"), c.req.valid("param").session_id);
    const rows = await readMessages(sql, session.session_id, readCursor(cursor), limit);
    const oldest = rows.at(-1);
    const earlier = oldest ? await readMessages(sql, session.session_id, oldest, 1) : [];
    const next_cursor = oldest && earlier.length > 0 ? `${oldest.base}-${oldest.n}` : null;
    const messages = rows.toReversed().map(messageOf);
    const waits = await waitsOfTurn(sql, session);
    return c.json({ ...sessionViewOf(session), waits, messages, next_cursor }, 200);
  });
}

/** The waits of the turn that the session shows. While it is under way, a branch of it may wait. */
async function waitsOfTurn(sql: Sql, { run_id, status }: SessionRow): Promise<RunWait[]> {
  if (TERMINAL.has(status)) return [];
  const run = await readRun(sql, null, run_id);
  if (run === null) return [];
  const { openWaits, children } = await readRelated(sql, run);
  return waitsOf(run, openWaits, children);
}

function messageOf({
  n,
  content,
  run_id,
  at_ms,
  images,
  attachments,
  tool_calls,
  cut,
}: MessageRow): z.infer<typeof Message> {
  const role = n === 0 ? "user" : "assistant";
  return { role, content, turn_id: run_id, at: isoTime(at_ms), images, attachments, tool_calls, cut };
}

/** @throws AppError `bad_cursor` */
function readCursor(cursor: string): MessagePosition | null {
  if (cursor === "") return null;
  const [, base, n] = /^([0-9]{13})-([02])$/.exec(cursor) ?? [];
  if (base === undefined) throw badCursor();
  return { base, n: Number(n) };
}
