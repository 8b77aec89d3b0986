import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { freePort } from "../../local/processes/free-ports.ts";
import { readSyncOptions } from "../../local/sync/options.ts";
import { readSource } from "../../local/sync/read-source.ts";
import { sendDefinitions } from "../../local/sync/send.ts";

function folderOf(files: { [path: string]: unknown }): string {
  const folder = mkdtempSync(join(tmpdir(), "synapse-sync-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [path, json] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    const isText = typeof json === "string" || Buffer.isBuffer(json);
    writeFileSync(join(folder, path), isText ? json : JSON.stringify(json));
  }
  return folder;
}
const idsOf = (path: string) =>
  readSource(path).map(({ kind, at, json }) => [kind, at, json["id"] ?? json["name"]]);

// Fails when a definition comes before the definitions that it names, or when a file of the predecessor's examples is refused.
test("a folder is read kind by kind: files in the folders of kinds, bundles, and definitions beside them", () => {
  const folder = folderOf({
    "agents/agent_a.json": { name: "A" },
    "tools/look_up.json": { tool_type: "http" },
    "mcp_servers/notes.json": { url: "https://x.example.com" },
    "pack.bundle.json": {
      synapse_export: true,
      custom_tools: [{ name: "ring" }],
      agents: [{ id: "agent_b" }],
      orchestrations: [{ id: "orch_b" }],
      mcp_servers: null,
    },
    "native.json": { id: "orch_n", steps: [] },
    "agents.json": [{ id: "agent_c", system_prompt: "" }],
    "index.json": [{ id: "pack", file: "pack.bundle.json", orchestration_count: 1 }],
    "README.md": "text",
    ".hidden/x.json": "{",
  });
  expect(idsOf(folder)).toEqual([
    ["tools", "pack.bundle.json custom_tools[0]", "ring"],
    ["tools", "tools/look_up.json", "look_up"],
    ["mcp_servers", "mcp_servers/notes.json", "notes"],
    ["agents", "agents/agent_a.json", "agent_a"],
    ["agents", "agents.json [0]", "agent_c"],
    ["agents", "pack.bundle.json agents[0]", "agent_b"],
    ["orchestrations", "native.json", "orch_n"],
    ["orchestrations", "pack.bundle.json orchestrations[0]", "orch_b"],
  ]);
  expect(idsOf(join(folder, "native.json"))).toEqual([["orchestrations", "native.json", "orch_n"]]);
});

test("a definition that several bundles have is sent once if it is the same in all of them", () => {
  const folder = folderOf({
    "a.json": { agents: [{ id: "agent_a", name: "A", model: null }] },
    "b.json": {
      agents: [
        { name: "A", id: "agent_a" },
        { id: "agent_b", name: "B" },
      ],
    },
    "c.json": { agents: [{ id: "agent_b", name: "Another" }] },
  });
  expect(idsOf(folder)).toEqual([
    ["agents", "a.json agents[0]", "agent_a"],
    ["agents", "b.json agents[1]", "agent_b"],
    ["agents", "c.json agents[0]", "agent_b"],
  ]);
});

test.each([
  [{ "a.json": "{" }, /a\.json is no JSON/],
  [{ "a.json": '{"n":01234567890123456789}' }, /a\.json is no JSON/],
  [{ "agents/a.json": [] }, /agents\/a\.json is no definition/],
  [{ "a.json": { agents: [1] } }, /a\.json agents\[0\] is no definition/],
  [{ "settings.json": { theme: "dark" } }, /settings\.json is no bundle and no definition/],
  [{ "agnets/a.json": {} }, /agnets is no folder of definitions/],
  [{ "agents/team/a.json": {} }, /agents\/team is a folder, and a folder of a kind has files alone/],
  // Fails when a file is read with other letters, or with one of two values.
  [{ "agents/a.json": Buffer.from([0x22, 0xfc, 0x22]) }, /agents\/a\.json has bytes that are no UTF-8/],
  [{ "agents/a.json": '{"tools":[{"x":1,"x":2}]}' }, /agents\/a\.json has tools\[0\]\.x twice/],
  [
    { "agents/a.json": '{"n":[12345678901234567890]}' },
    /agents\/a\.json has an integer beyond 2\^53 as n\[0\]/,
  ],
])("a file that has no definition is an error that names the file: %j", (files, message) => {
  expect(() => readSource(folderOf(files))).toThrow(message);
});

test("a file may begin with a byte order mark, and its name may end with .JSON", () => {
  const folder = folderOf({ "agents/a.JSON": '\uFEFF{"name":"A"}' });
  expect(readSource(folder)).toEqual([{ kind: "agents", at: "agents/a.JSON", json: { id: "a", name: "A" } }]);
});

test("a source that does not exist is named", () => {
  expect(() => readSource("no-such-folder")).toThrow(
    "no-such-folder does not exist: name a folder of definitions, or a JSON file",
  );
});

test("without flags the URL and the key are those of the environment, else those of npm start", () => {
  const dataFolder = folderOf({ "dev.json": { api_base: "http://localhost:8123", api_key: "sk-local" } });
  const options = (args: string[], env = {}, data = dataFolder) => readSyncOptions(args, env, data);
  expect(options(["dir"])).toMatchObject({
    source: "dir",
    url: "http://localhost:8123",
    key: "sk-local",
    isDryRun: false,
  });
  const other = folderOf({ "dev.json": { api_base: "http://localhost:9000", api_key: "sk-other" } });
  expect(options(["dir", "--data", other])).toMatchObject({ url: "http://localhost:9000", key: "sk-other" });
  const env = { SYNAPSE_URL: "https://api.example.com", SYNAPSE_API_KEY: "sk-env" };
  expect(options(["dir"], env)).toMatchObject({ url: "https://api.example.com", key: "sk-env" });
  const flags = [
    "dir",
    "--url",
    "https://x.example.com",
    "--key",
    "sk-flag",
    "--dry-run",
    "--tenant",
    "acme",
  ];
  expect(options(flags, env)).toMatchObject({
    url: "https://x.example.com",
    key: "sk-flag",
    isDryRun: true,
    tenant: "acme",
  });
  expect(options(["--delete", "agents/a", "--delete", "tools/b"])).toMatchObject({
    source: null,
    deletions: ["agents/a", "tools/b"],
  });
});

test("a system that does not answer is named, with the reason", async () => {
  const url = `http://127.0.0.1:${await freePort(0)}`;
  const target = { url, key: "sk-canary", tenant: undefined };
  const entries = [{ kind: "agents" as const, at: "a.json", json: { id: "a", name: "A" } }];
  const sent = sendDefinitions(target, entries, { dry_run: false, delete: [], isLenient: false });
  await expect(sent).rejects.toThrow(
    `POST ${url}/scale/sync got no answer (ECONNREFUSED): is the system running, and is its address right?`,
  );
});

// Fails when the key of this machine's system is sent to another server.
test.each([
  [[], {}],
  [["a", "b"], {}],
  [["--help"], {}],
  [["dir", "--url", "https://other.example.com"], {}],
  [["dir"], { SYNAPSE_URL: "https://other.example.com" }],
])("flags that do not fit together are refused with the usage: %j %j", (args, env) => {
  const dataFolder = folderOf({ "dev.json": { api_base: "http://localhost:8123", api_key: "sk-local" } });
  expect(() => readSyncOptions(args, env, dataFolder)).toThrow("Usage: npm run sync");
});
