/** The files of a run's tools, on the edge and the worker of a test file. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { FileSweep } from "../../worker-node/reconciler/file-sweep.ts";
import type { FileStore } from "../../worker-node/files/file-store.ts";
import { stateStore } from "../../shared/store/state.ts";
import { portOf } from "../../worker-node/ops/health-server.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import type { Edge } from "./edge.ts";
import { memoryOf, runOf } from "./uploads.ts";
import { noRepairs } from "../../worker-node/reconciler/reconciler-deps.ts";

const MIB = 1024 * 1024;
const Reference = z.looseObject({ $ref: z.string(), url: z.string(), name: z.string(), sha256: z.string() });
const sha256Of = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

export function describeFiles(
  edgeOf: () => Edge,
  workerOf: () => WorkerProcess,
  bucketOf: () => FileStore,
): void {
  const get = (path: string, key?: string) => edgeOf().call("GET", path, key === undefined ? {} : { key });
  const artifactsOf = async (run: string) => {
    const page = await get(`/api/v2/orchestrations/runs/${run}/artifacts`);
    return z.object({ data: z.array(z.looseObject({ name: z.string() })) }).parse(await page.json()).data;
  };
  const write = (state: Record<string, unknown>, more: Record<string, unknown> = {}) =>
    runOf(edgeOf(), "orch_write", { state: { scope: "run", ...state }, ...more });

  describe("a file that a tool writes", () => {
    test("is in state as a reference that templates resolve, in the list, and opened by its url and its name", async () => {
      const { run_id, output, final_state } = await write({
        name: "report.csv",
        content: "a,b\n1,2",
        content_type: "text/csv",
      });
      expect(output).toBe("report.csv: a,b\n1,2");
      const file = Reference.parse(final_state["file"]);
      expect(file).toMatchObject({ size: 7, content_type: "text/csv", sha256: sha256Of("a,b\n1,2") });
      expect(file.$ref).toMatch(new RegExp(`^acme/${run_id}/write/1\\.1/file\\.[0-9a-f]{8}\\.report\\.csv$`));
      expect(await artifactsOf(run_id)).toEqual([
        expect.objectContaining({
          file_name: "report.csv",
          size: 7,
          sha256: file.sha256,
          scope: "run",
          url: file.url,
          step_path: "write",
        }),
      ]);
      const result = await get(`/api/v2/orchestrations/runs/${run_id}/result`);
      expect(await result.json()).toMatchObject({ artifacts: await artifactsOf(run_id) });
      for (const url of [file.url, `/api/v2/orchestrations/runs/${run_id}/artifacts/report.csv`]) {
        const opened = await get(url);
        expect([opened.headers.get("content-type"), opened.headers.get("content-disposition")]).toEqual([
          "text/csv",
          'attachment; filename="report.csv"',
        ]);
        expect(await opened.text()).toBe("a,b\n1,2");
      }
    });

    // Fails when its key is longer than stores allow.
    test("has its whole name, however many bytes its letters have", async () => {
      const name = `${"日".repeat(250)}.txt`;
      const { run_id, final_state } = await write({ name, content: "x" });
      const { url } = Reference.parse(final_state["file"]);
      expect(await artifactsOf(run_id)).toEqual([expect.objectContaining({ file_name: name, url })]);
      for (const path of [
        url,
        `/api/v2/orchestrations/runs/${run_id}/artifacts/${encodeURIComponent(name)}`,
      ]) {
        const opened = await get(path);
        const { headers } = opened;
        expect([opened.status, headers.get("content-disposition")]).toEqual([
          200,
          `attachment; filename="${"_".repeat(250)}.txt"; filename*=UTF-8''${encodeURIComponent(name)}`,
        ]);
      }
    });

    test("does not exist for another tenant, by its url and by its name", async () => {
      const { run_id, final_state } = await write({ name: "a.txt", content: "x" });
      const globex = await edgeOf().stores.key("globex");
      const { url } = Reference.parse(final_state["file"]);
      for (const path of [url, `/api/v2/orchestrations/runs/${run_id}/artifacts/a.txt`]) {
        expect((await get(path)).status).toBe(200);
        expect((await get(path, globex)).status).toBe(404);
      }
    });

    test("is read by later runs of its session, and by no other run", async () => {
      const session = { session_id: "s-1" };
      await write({ name: "memo.txt", content: "remember", scope: "session" }, session);
      const read = (more: Record<string, unknown>) =>
        runOf(edgeOf(), "orch_read", { state: { name: "memo.txt" }, ...more });
      expect(await read(session)).toMatchObject({ status: "completed", output: "remember (session)" });
      const refused = { status: "failed", error: { code: "tool_rejected" } };
      expect(await read({ session_id: "s-2" })).toMatchObject(refused);
      expect(await read({})).toMatchObject(refused);
      expect(await read({ ...session, tenant_id: "globex" })).toMatchObject(refused);
      expect(await write({ name: "a", content: "x", scope: "session" })).toMatchObject(refused);
    });

    test("is refused when the files of its tenant would pass their limit, and its object is deleted", async () => {
      const limit = { tenant_id: "full", max_total_artifact_bytes: 15 };
      await edgeOf().call("POST", "/scale/tenants", { body: limit });
      const tenantField = { tenant_id: "full" };
      expect(await write({ name: "a", content: "x".repeat(10) }, tenantField)).toMatchObject({
        status: "completed",
      });
      expect(await write({ name: "b", content: "x".repeat(6) }, tenantField)).toMatchObject({
        status: "failed",
        error: { code: "artifacts_full", message: expect.stringContaining("10 of the 15 bytes") },
      });
      const usage = await edgeOf().call("GET", "/scale/tenants/full/usage");
      expect(await usage.json()).toMatchObject({ artifact_bytes: 10 });
    });

    test("has at most the bytes that its tenant may store", async () => {
      const limit = { tenant_id: "tiny", max_artifact_bytes: 10 };
      await edgeOf().call("POST", "/scale/tenants", { body: limit });
      const tenantField = { tenant_id: "tiny" };
      expect(await write({ name: "a", content: "x".repeat(10) }, tenantField)).toMatchObject({
        status: "completed",
      });
      expect(await write({ name: "a", content: "x".repeat(11) }, tenantField)).toMatchObject({
        status: "failed",
        error: { code: "file_too_large" },
      });
    });
  });

  test("an attachment is read by the tool too, in parts", async () => {
    const { base, platformKey } = edgeOf();
    const sent = await fetch(`${base}/api/v2/uploads?tenant_id=acme&name=notes.txt`, {
      method: "POST",
      headers: { authorization: `Bearer ${platformKey}`, "content-type": "text/plain" },
      body: "äöü",
    });
    const { id } = z.object({ id: z.string() }).parse(await sent.json());
    const attachments = [{ upload_id: id }];
    const read = await runOf(edgeOf(), "orch_read", { attachments, state: { name: "notes.txt", length: 3 } });
    // A part never ends inside a character.
    expect(read).toMatchObject({ output: "ä (attachment)", final_state: { part: { length: 2, bytes: 6 } } });
    const rest = await runOf(edgeOf(), "orch_read", { attachments, state: { name: id, offset: 2 } });
    expect(rest).toMatchObject({ output: "öü (attachment)" });
  });

  describe("an HTTP tool with response: artifact", () => {
    const size = 192 * MIB;
    let server: Server;
    beforeAll(async () => {
      server = createServer((request, response) => {
        if (request.url === "/report.pdf")
          return response.writeHead(200, { "content-type": "application/pdf" }).end("%PDF");
        if (request.url === "/packed") {
          const headers = {
            "content-encoding": "gzip",
            "content-disposition": 'attachment; filename="plain.txt"',
          };
          return response
            .writeHead(200, { "content-type": "text/plain", ...headers })
            .end(gzipSync("unpacked"));
        }
        if (request.url === "/broken")
          return response.writeHead(200, { "content-encoding": "gzip" }).end("no gzip");
        if (request.url === "/cut") {
          response.writeHead(200, { "content-length": "1000" }).write("x");
          return response.destroy();
        }
        if (request.url === "/refused") return response.writeHead(404).end("no such report");
        response.writeHead(200, { "content-type": "image/png" });
        const part = Buffer.alloc(MIB, 1);
        let left = size / MIB;
        const sendPiece = (): void => {
          while (left-- > 0) if (!response.write(part)) return void response.once("drain", sendPiece);
          response.end();
        };
        return sendPiece();
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const body = {
        tool_type: "http",
        url: `http://127.0.0.1:${portOf(server)}/{path}`,
        response: "artifact",
        inputSchema: { type: "object", properties: { path: { type: "string" } }, required: ["path"] },
      };
      const saved = await edgeOf().call("PUT", "/api/v2/tools/fetch_file", { body });
      expect([saved.status, saved.ok || (await saved.text())]).toEqual([200, true]);
    });
    afterAll(() => {
      server.closeAllConnections();
      server.close();
    });
    const fetchFile = (path: string) => runOf(edgeOf(), "orch_fetch", { state: { path } });

    test("stores what the server answers as a file, decoded, under the server's name and type", async () => {
      const pdf = await fetchFile("report.pdf");
      expect(pdf.output).toMatchObject({ name: "report.pdf", content_type: "application/pdf", size: 4 });
      expect(await (await get(Reference.parse(pdf.output).url)).text()).toBe("%PDF");
      const packed = await fetchFile("packed");
      expect(packed.output).toMatchObject({ name: "plain.txt", size: 8, sha256: sha256Of("unpacked") });
    });

    test("stores no file of an answer that is no success, is cut off, or is not encoded as its header says", async () => {
      const results = [];
      for (const path of ["refused", "broken", "cut"]) results.push(await fetchFile(path));
      expect(results.map(({ error }) => error)).toMatchObject([
        { code: "tool_rejected" },
        { code: "answer_encoding" },
        { code: "unreachable" },
      ]);
      for (const { run_id } of results) expect(await artifactsOf(run_id)).toEqual([]);
    });

    // Fails when the worker holds an answer: its memory would grow by 192 MiB. The parts on their way and what is not collected
    // yet take 60 to 110 MiB, whatever the size.
    test("passes 192 MiB on without having them in memory", async () => {
      await fetchFile("report.pdf");
      const before = memoryOf(workerOf().pid);
      const { output } = await fetchFile("image");
      expect(output).toMatchObject({ size, content_type: "image/png", name: "image" });
      expect(memoryOf(workerOf().pid, "VmHWM") - before).toBeLessThan(170 * MIB);
    });
  });

  describe("the sweep of the bucket", () => {
    /** The bucket, with objects that are a day older. */
    const aged = (): FileStore => {
      const bucket = bucketOf();
      return {
        ...bucket,
        async *list(prefix, after) {
          for await (const page of bucket.list(prefix, after)) {
            yield page.map((object) => ({ ...object, ageMs: object.ageMs + 86_400_000 }));
          }
        },
      };
    };
    const sweep = async (files: FileStore) => {
      const repairs = noRepairs();
      // A sweep of its own, beside that of the worker.
      const store = {
        ...stateStore(edgeOf().stores.sql),
        readSweep: async () => "",
        saveSweep: async () => null,
      };
      await new FileSweep({ store, files: () => files, repairs }).pass();
      return repairs.orphans;
    };
    const put = async (...keys: string[]) => {
      for (const key of keys) await bucketOf().putStream(key, bytesOf("x"), "text/plain");
    };
    const keys = async (prefix: string) => {
      const found: string[] = [];
      for await (const page of bucketOf().list(prefix)) found.push(...page.map(({ key }) => key));
      return found;
    };

    // Fails when a committed value or file, or an object of another database, is deleted.
    test("deletes what an attempt stored and never committed, once it is a day old, and nothing else", async () => {
      const { run_id } = await write({ name: "kept.txt", content: "x".repeat(40_000) });
      const committed = await keys(`acme/${run_id}/`);
      expect(committed.length).toBeGreaterThan(1);
      const orphans = [
        `acme/${run_id}/write/1.1/file.00000000.kept.txt`,
        `acme/${run_id}/write/1.2/set.file`,
        `acme/${run_id}/end.2/event.0.x`,
      ];
      const others = [
        `acme/run_000000000000_1780499750067/a/1.1/set.b`,
        "acme/other",
        `globex/${run_id}/write/1.2/set.b`,
      ];
      await put(...orphans, ...others);
      expect(await sweep(bucketOf())).toBe(0);
      await sweep(aged());
      expect(await keys(`acme/${run_id}/`)).toEqual(committed);
      for (const other of others) expect(await keys(other)).toEqual([other]);
    });

    test("leaves what the attempt that moves a run now has stored", async () => {
      const { run_id } = await write({ name: "a.txt", content: "x" });
      const { sql } = edgeOf().stores;
      const key = `acme/${run_id}/write/9.7/file.00000000.a.txt`;
      await put(key);
      await sql`update runs set status = 'running', attempt = 7, owner = 'w#00000000', ended_at = null, wake_at = now() + interval '1 h',
        deadline_at = now() + interval '1 hour' where run_id = ${run_id}`;
      await sweep(aged());
      expect(await keys(key)).toEqual([key]);
      await sql`update runs set status = 'completed', owner = null, ended_at = now(), wake_at = null where run_id = ${run_id}`;
      await sweep(aged());
      expect(await keys(key)).toEqual([]);
    });

    test("deletes uploads that no run has used for a day and uploads that never arrived, and keeps those of runs", async () => {
      const { sql } = edgeOf().stores;
      const day = "upload_0000000000000000000000";
      const names = ["01", "02", "03", "04"].map((end) => day + end);
      const [unused = "", pending = "", used = "", fresh = ""] = names;
      const { run_id } = await write({ name: "a.txt", content: "x" });
      // The worker's own sweep may come at any moment: a use is there before its upload.
      await sql`insert into upload_uses (run_id, upload_id) values (${run_id}, ${used}), ('run_000000000000_0000000000000', ${unused})`;
      for (const id of names) {
        const late = id === fresh ? "1 day" : "-1 second";
        await sql`insert into uploads (upload_id, tenant_id, name, content_type, bytes, stored_at, sha256, kept_until)
          values (${id}, 'acme', 'a', 'text/plain', 1, ${id === pending ? null : new Date()}, ${id === pending ? null : sha256Of("x")},
            now() + ${late}::interval)`;
        await put(`acme/uploads/${id}`);
      }
      await sweep(bucketOf());
      // The worker's own sweep may have taken some of them.
      await expect
        .poll(() => keys(`acme/uploads/${day}`))
        .toEqual([used, fresh].map((id) => `acme/uploads/${id}`));
      const rows = () =>
        sql`select upload_id from uploads where upload_id like ${`${day}%`} order by upload_id`;
      await expect
        .poll(async () => (await rows()).map(({ upload_id }) => String(upload_id)))
        .toEqual([used, fresh]);
    });
  });
}

async function* bytesOf(text: string) {
  yield Buffer.from(text);
}

const optional = (type: string) => ({ type, default: null });

/** Definitions that the tests above run. */
export const fileDefinitions = {
  orch_write: {
    name: "Write",
    entry_step_id: "write",
    state_schema: {
      name: optional("string"),
      content: optional("string"),
      content_type: optional("string"),
      scope: optional("string"),
    },
    steps: [
      {
        id: "write",
        type: "tool",
        forced_tool: "artifact_write",
        input_keys: ["name", "content", "content_type", "scope"],
        output_key: "file",
        next_step_id: "show",
      },
      { id: "show", type: "print", print_content: "{state.file.name}: {state.file}" },
    ],
  },
  orch_read: {
    name: "Read",
    entry_step_id: "read",
    state_schema: { name: optional("string"), offset: optional("integer"), length: optional("integer") },
    steps: [
      {
        id: "read",
        type: "tool",
        forced_tool: "artifact_read",
        input_keys: ["name", "offset", "length"],
        output_key: "part",
        next_step_id: "show",
      },
      { id: "show", type: "print", print_content: "{state.part.content} ({state.part.scope})" },
    ],
  },
  orch_fetch: {
    name: "Fetch",
    entry_step_id: "a",
    state_schema: { path: optional("string") },
    steps: [
      {
        id: "a",
        type: "tool",
        forced_tool: "fetch_file",
        input_keys: ["path"],
        output_key: "file",
        retry: { attempts: 1 },
      },
    ],
  },
};
