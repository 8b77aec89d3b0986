import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { SHARED } from "../../../shared/contracts/tenant.ts";
import {
  deleteDefinition,
  listDefinitions,
  readDefinition,
  saveDefinitionIf,
} from "../../../shared/store/definitions/agents-and-tools.ts";
import {
  deleteOrchestration,
  listOrchestrations,
  readOrchestration,
  saveOrchestration,
  saveOrchestrationIf,
} from "../../../shared/store/definitions/orchestrations.ts";
import { readOwnDefinitions } from "../../../shared/store/definitions/own-definitions.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { testConnection } from "../../services/databases.ts";
import { freshDatabase } from "../../services/services.ts";

let sql: Sql;
beforeAll(async () => {
  sql = postgres(await freshDatabase(), { ...testConnection, max: 10 });
});
afterAll(() => sql.end());

const [acme, globex] = [TenantId.parse("acme"), TenantId.parse("globex")];
const row = (id: string, definition: string) => ({ id, name: `name of ${id}`, description: "d", definition });

describe("an orchestration", () => {
  test("keeps every version, also when many requests save it at once", async () => {
    const versions = await Promise.all(
      Array.from({ length: 10 }, (_, i) => saveOrchestration(sql, acme, row("busy", `{"n":${i}}`))),
    );
    expect(versions.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for (const [i, version] of versions.entries()) {
      const read = await readOrchestration(sql, acme, "busy", version);
      expect(read).toEqual({ id: "busy", owner: "acme", version, definition: `{"n":${i}}` });
    }
  });

  test("of a tenant hides the shared one with the same id, for that tenant only", async () => {
    await saveOrchestration(sql, SHARED, row("same", '"shared"'));
    await saveOrchestration(sql, acme, row("same", '"own"'));
    expect((await readOrchestration(sql, acme, "same"))?.definition).toBe('"own"');
    expect((await readOrchestration(sql, globex, "same"))?.definition).toBe('"shared"');
    const listed = await listOrchestrations(sql, acme, "sam", 1);
    expect(listed.map(({ id }) => id)).toEqual(["same"]);
  });

  test("cannot be read after its deletion, and continues its version numbers when it is saved again", async () => {
    await saveOrchestration(sql, acme, row("gone", "1"));
    expect(await deleteOrchestration(sql, globex, "gone")).toBe(false);
    expect(await deleteOrchestration(sql, acme, "gone")).toBe(true);
    expect(await deleteOrchestration(sql, acme, "gone")).toBe(false);
    expect(await readOrchestration(sql, acme, "gone")).toBe(null);
    expect(await saveOrchestration(sql, acme, row("gone", "2"))).toBe(2);
    expect((await readOrchestration(sql, acme, "gone"))?.definition).toBe("2");
  });

  test("keeps its text unchanged, including an escaped NUL", async () => {
    const definition = JSON.stringify({ prompt: "a\u0000b" });
    await saveOrchestration(sql, acme, row("nul", definition));
    expect((await readOrchestration(sql, acme, "nul"))?.definition).toBe(definition);
  });
});

describe.each(["agents", "tools"] as const)("%s", (kind) => {
  test("are saved, read, listed and deleted, and a tenant's own one hides the shared one", async () => {
    await saveDefinitionIf(sql, kind, SHARED, row("one", "1"));
    expect(await saveDefinitionIf(sql, kind, acme, row("one", "2"))).toBe(1);
    expect(await saveDefinitionIf(sql, kind, acme, row("one", "3"))).toBe(2);
    expect(await readDefinition(sql, kind, acme, "one")).toMatchObject({
      owner: "acme",
      version: 2,
      definition: "3",
    });
    expect(await readDefinition(sql, kind, globex, "one")).toMatchObject({
      owner: "",
      definition: "1",
    });
    expect(await listDefinitions(sql, kind, acme, "", 10)).toHaveLength(1);
    expect(await deleteDefinition(sql, kind, acme, "one")).toBe(true);
    expect(await readDefinition(sql, kind, acme, "one")).toMatchObject({ owner: "" });
  });
});

// Fails when a save that has compared an older version writes over a newer one.
describe.each(["orchestrations", "agents", "tools", "mcp_servers"] as const)("a save of %s", (kind) => {
  const save = (id: string, text: string, seen: number) =>
    kind === "orchestrations"
      ? saveOrchestrationIf(sql, acme, row(id, text), seen)
      : saveDefinitionIf(sql, kind, acme, row(id, text), seen);
  const stored = async (id: string) => (await readOwnDefinitions(sql, kind, acme, [id])).get(id);

  test("that has seen another version than the newest writes nothing", async () => {
    expect(await save("seen", "1", 0)).toBe(1);
    expect(await save("seen", "2", 0)).toBe(null);
    expect(await save("seen", "2", 1)).toBe(2);
    expect(await save("seen", "3", 1)).toBe(null);
    expect(await stored("seen")).toEqual({ id: "seen", version: 2, definition: "2", is_deleted: false });
  });

  test("is made by one of many that have seen the same", async () => {
    const versions = await Promise.all(Array.from({ length: 10 }, (_, i) => save("raced", `${i}`, 0)));
    expect(versions.filter((version) => version !== null)).toEqual([1]);
    expect(await stored("raced")).toMatchObject({ version: 1, definition: `${versions.indexOf(1)}` });
  });

  test("is read back by its owner alone, also when it is deleted", async () => {
    await save("own", "1", 0);
    await (kind === "orchestrations"
      ? deleteOrchestration(sql, acme, "own")
      : deleteDefinition(sql, kind, acme, "own"));
    expect(await stored("own")).toMatchObject({ is_deleted: true });
    expect((await readOwnDefinitions(sql, kind, globex, ["own"])).size).toBe(0);
  });
});
