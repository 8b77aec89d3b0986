import { afterAll, beforeAll, test } from "vitest";
import {
  SnippetProgram,
  expectLongRun,
  expectWholeRun,
  snippet,
  startSnippetStack,
  textOf,
} from "../services/seed-snippets/stack.ts";
import type { SnippetStack } from "../services/seed-snippets/stack.ts";

let stack: SnippetStack;
beforeAll(async () => {
  stack = await startSnippetStack();
});
afterAll(() => stack.stop());

const start = (orchestration: string): SnippetProgram => {
  const source = snippet("client.ts.txt", stack.edge.base, stack.key) + textOf("drive-client.ts.txt");
  return new SnippetProgram(process.execPath, "client.mts", source, [orchestration, "a question", "acme"]);
};

// Fails when a field, a path or a frame of the stream is not as the snippet reads it.
test("the TypeScript snippet starts a run and receives all of its events, then ends", async () => {
  await expectWholeRun(stack, start);
});

// Fails when a stream ends before its run: the snippet does not reconnect.
test("the TypeScript snippet receives all of a run that is silent for longer than two keepalives", async () => {
  await expectLongRun(stack, start);
});
