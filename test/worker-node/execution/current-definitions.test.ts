import { afterEach, expect, test, vi } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { CurrentDefinitions } from "../../../worker-node/execution/current-definitions.ts";

const acme = TenantId.parse("acme");
let nowMs = 1_000;

/** Definitions over one stored row, whose text a test replaces. */
function definitionsOver(row: { text: string; reads: number }) {
  nowMs = 1_000;
  vi.spyOn(performance, "now").mockImplementation(() => nowMs);
  return new CurrentDefinitions({
    readDefinition: async (_kind, tenant) => {
      row.reads += 1;
      if (row.text === "") throw new Error("away");
      return { definition: row.text, owner: tenant, version: 1 };
    },
  });
}

afterEach(() => vi.restoreAllMocks());

test("executions that began before a read share it", async () => {
  const row = { text: `{"v":1}`, reads: 0 };
  const definitions = definitionsOver(row);
  const read = () => definitions.named("tools", acme, "t", 1_000);
  expect(await Promise.all([read(), read()])).toEqual([
    { v: 1, owner: "acme" },
    { v: 1, owner: "acme" },
  ]);
  nowMs += 900;
  await read();
  expect(row.reads).toBe(1);
});

// Fails when a read is kept by its age alone: a client that saves a tool and then submits a run would get the tool from before.
test("an execution never gets what was replaced before it began", async () => {
  const row = { text: `{"v":1}`, reads: 0 };
  const definitions = definitionsOver(row);
  await definitions.named("tools", acme, "t", nowMs);
  row.text = `{"v":2}`;
  nowMs += 1;
  expect(await definitions.named("tools", acme, "t", nowMs)).toEqual({ v: 2, owner: "acme" });
});

test("an execution gets a change within a second", async () => {
  const row = { text: `{"v":1}`, reads: 0 };
  const definitions = definitionsOver(row);
  await definitions.named("tools", acme, "t", 1_000);
  row.text = `{"v":2}`;
  nowMs += 1_001;
  expect(await definitions.named("tools", acme, "t", 1_000)).toEqual({ v: 2, owner: "acme" });
});

test("a definition that has been read is there at once, and stays the same object until its text changes", async () => {
  const row = { text: `{"v":1}`, reads: 0 };
  const definitions = definitionsOver(row);
  const read = () => definitions.named("tools", acme, "t", nowMs);
  const first = await read();
  expect(read()).toBe(first);
  nowMs += 1;
  expect(await read()).toBe(first);
  expect(row.reads).toBe(2);
  row.text = `{"v":2}`;
  nowMs += 1;
  expect(await read()).not.toBe(first);
});

test("a read that failed is not kept, and kinds and tenants have reads of their own", async () => {
  const row = { text: "", reads: 0 };
  const definitions = definitionsOver(row);
  await expect(definitions.named("tools", acme, "t", 1_000)).rejects.toThrow("away");
  row.text = `{"v":1}`;
  expect(await definitions.named("tools", acme, "t", 1_000)).toEqual({ v: 1, owner: "acme" });
  expect(await definitions.named("agents", acme, "t", 1_000)).toEqual({ v: 1, owner: "acme" });
  expect(await definitions.named("tools", TenantId.parse("umbra"), "t", 1_000)).toEqual({
    v: 1,
    owner: "umbra",
  });
  expect(row.reads).toBe(4);
});
