import { readFile, readdir } from "node:fs/promises";
import { expect, test } from "vitest";

const ROOT = new URL("../../../", import.meta.url);

/** The tables that the migrations create. A partition is a part of its table. */
async function tablesOfMigrations(): Promise<Set<string>> {
  const files = (await readdir(new URL("migrations/", ROOT))).filter((name) => name.endsWith(".sql"));
  const texts = await Promise.all(files.map((name) => readFile(new URL(`migrations/${name}`, ROOT), "utf8")));
  const created = texts.flatMap((text) => [
    ...text.matchAll(/\bcreate table (?:if not exists )?(\w+)\s*(\(|partition of)/gi),
  ]);
  return new Set(created.flatMap(([, name = "", after]) => (after === "(" ? [name] : [])));
}

/** The tables in the first column of docs/protocol.md 7.18. */
async function documentedTables(): Promise<Set<string>> {
  const text = await readFile(new URL("docs/protocol.md", ROOT), "utf8");
  const [, rule = ""] = /^### 7\.18 [^\n]+\n(.*?)^### /ms.exec(text) ?? [];
  const first = rule.split("\n").flatMap((line) => /^\| ((?:`\w+`(?:, )?)+) \|/.exec(line)?.[1] ?? []);
  return new Set(first.flatMap((names) => [...names.matchAll(/`(\w+)`/g)].map(([, name = ""]) => name)));
}

// Fails when a migration adds a table and nobody has decided when its rows are deleted.
test("every table of the migrations is in the table of what is stored and when it is deleted, and no other", async () => {
  const created = await tablesOfMigrations();
  expect(created.size).toBeGreaterThan(50);
  expect([...(await documentedTables())].toSorted()).toEqual([...created].toSorted());
});
