import { z } from "zod";
import { ChatHistory, Summary } from "../../contracts/chat.ts";
import { RunId, SessionId } from "../../contracts/ids.ts";
import { readChatHistory, readTurnText, saveChatSummary } from "../chat/messages.ts";
import { wakeTurns } from "../chat/turn-order.ts";
import { DueRun } from "../runs/due-runs.ts";
import type { Bind } from "./verb.ts";

/** What the execution of a chat turn reads and saves. */
export function chatVerbs(bind: Bind) {
  return {
    readChatHistory: bind({
      name: "readChatHistory",
      args: z.tuple([SessionId, z.string()]),
      result: ChatHistory,
      run: readChatHistory,
    }),
    saveChatSummary: bind({
      name: "saveChatSummary",
      args: z.tuple([SessionId, z.string(), Summary]),
      result: z.null(),
      run: saveChatSummary,
    }),
    readTurnText: bind({
      name: "readTurnText",
      args: z.tuple([RunId]),
      result: z.string(),
      run: readTurnText,
    }),
    wakeTurns: bind({
      name: "wakeTurns",
      args: z.tuple([SessionId.nullable()]),
      result: z.array(DueRun),
      run: wakeTurns,
    }),
  };
}
