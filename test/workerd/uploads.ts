/** Uploads of clients, on the edge and the worker of a test file. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { describe, expect, test, vi } from "vitest";
import { z } from "zod";
import type { Edge } from "./edge.ts";

const View = z.object({
  id: z.string(),
  name: z.string(),
  bytes: z.number(),
  content_type: z.string(),
  sha256: z.string(),
  url: z.string(),
  ref: z.looseObject({ $ref: z.string(), url: z.string(), size: z.number() }),
});
const UPLOADS = "/api/v2/uploads";
const MIB = 1024 * 1024;

export function describeUploads(
  edgeOf: () => Edge,
  keysInBucket: (prefix: string) => Promise<string[]>,
): void {
  const upload = async (
    bytes: Uint8Array<ArrayBuffer> | string,
    query = "",
    headers: Record<string, string> = {},
  ) =>
    fetch(`${edgeOf().base}${UPLOADS}${query}`, {
      method: "POST",
      headers: { authorization: `Bearer ${edgeOf().platformKey}`, ...headers },
      body: bytes,
    });
  const stored = async (...args: Parameters<typeof upload>) => {
    const answer = await upload(...args);
    expect(answer.status).toBe(201);
    return View.parse(await answer.json());
  };
  const ofAcme = "?tenant_id=acme&name=";
  const runToEnd = (orchestration: string, body: Record<string, unknown>) =>
    runOf(edgeOf(), orchestration, body);

  describe("an upload", () => {
    test("is answered with its facts, and opened by its url: whole, in ranges, as a download", async () => {
      const bytes = randomBytes(100_000);
      const answer = await stored(
        new Uint8Array(bytes),
        `${ofAcme}${encodeURIComponent("Bericht März.pdf")}`,
        {
          "content-type": "application/pdf",
        },
      );
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      expect(answer).toMatchObject({
        name: "Bericht März.pdf",
        bytes: 100_000,
        content_type: "application/pdf",
        sha256,
      });
      expect(answer.ref).toMatchObject({ size: 100_000, sha256, url: answer.url, name: "Bericht März.pdf" });
      const opened = await edgeOf().call("GET", answer.url, { headers: { "accept-encoding": "identity" } });
      expect(Object.fromEntries(opened.headers)).toMatchObject({
        "content-type": "application/pdf",
        "content-length": "100000",
        "content-disposition": `attachment; filename="Bericht_M_rz.pdf"; filename*=UTF-8''Bericht%20M%C3%A4rz.pdf`,
        "x-content-type-options": "nosniff",
      });
      expect(Buffer.from(await opened.arrayBuffer()).equals(bytes)).toBe(true);
      const range = await edgeOf().call("GET", answer.url, { headers: { range: "bytes=10-19" } });
      expect([range.status, range.headers.get("content-range")]).toEqual([206, "bytes 10-19/100000"]);
      expect(Buffer.from(await range.arrayBuffer()).equals(bytes.subarray(10, 20))).toBe(true);
    });

    test("may be empty, and takes its name from Content-Disposition", async () => {
      const disposition = {
        "content-disposition": 'attachment; filename="a.txt"',
        "content-type": "text/plain",
      };
      const answer = await stored("", "?tenant_id=acme", disposition);
      expect(answer).toMatchObject({ name: "a.txt", bytes: 0 });
      const opened = await edgeOf().call("GET", answer.url);
      expect([opened.status, await opened.text()]).toEqual([200, ""]);
    });

    // Fails when the body of a form, a compressed body or a name that is a path is stored as if it were the file.
    test.each([
      ["a form", 415, "", { "content-type": "multipart/form-data; boundary=x" }],
      ["a compressed body", 415, "", { "content-encoding": "gzip" }],
      ["a part of a file", 422, "", { "content-range": "bytes 0-0/10" }],
      ["a type that is none", 415, "", { "content-type": "text" }],
      ["a path as its name", 422, `${ofAcme}${encodeURIComponent("../a")}`, {}],
      ["a parameter that does not exist", 422, "?tenant=acme", {}],
    ])("that is %s is refused", async (_, status, query, headers) => {
      const answer = await upload("x", query, headers);
      expect([answer.status, await answer.json()]).toEqual([
        status,
        expect.objectContaining({ code: expect.any(String) }),
      ]);
    });

    test("over the limit of its tenant is refused before its bytes are read, and one without a length too", async () => {
      const edge = edgeOf();
      const limit = { tenant_id: "small", max_artifact_bytes: 1_000 };
      expect((await edge.call("POST", "/scale/tenants", { body: limit })).status).toBe(201);
      expect((await upload("x".repeat(1_000), "?tenant_id=small")).status).toBe(201);
      expect((await upload("x".repeat(1_001), "?tenant_id=small")).status).toBe(413);
      const chunked = await sendChunked(edge, ["a", "b"]);
      expect(chunked).toEqual([411, expect.stringContaining("length_required")]);
    });

    test("over what all files of its tenant may have is refused, until one is deleted", async () => {
      const edge = edgeOf();
      const limit = { tenant_id: "total", max_total_artifact_bytes: 100 };
      expect((await edge.call("POST", "/scale/tenants", { body: limit })).status).toBe(201);
      const { url } = await stored("x".repeat(60), "?tenant_id=total");
      const refused = await upload("x".repeat(41), "?tenant_id=total");
      expect([refused.status, await refused.json()]).toMatchObject([
        409,
        { code: "artifacts_full", detail: expect.stringContaining("60 of the 100 bytes") },
      ]);
      expect(await (await edge.call("GET", "/scale/tenants/total")).json()).toMatchObject({
        max_total_artifact_bytes: 100,
        artifact_bytes: 60,
      });
      expect((await edge.call("DELETE", url)).status).toBe(204);
      await stored("x".repeat(100), "?tenant_id=total");
    });

    // Fails when the tenant is not part of the statements.
    test("does not exist for another tenant, to read, to delete, or to attach", async () => {
      const edge = edgeOf();
      const { id, url } = await stored("secret", `${ofAcme}a.txt`);
      const [globex, reader] = await Promise.all([
        edge.stores.key("globex"),
        edge.stores.key("acme", ["runs:read"]),
      ]);
      const statusOf = async (method: string, key: string) => (await edge.call(method, url, { key })).status;
      expect(await statusOf("GET", globex)).toBe(404);
      expect(await statusOf("DELETE", globex)).toBe(404);
      expect(await statusOf("DELETE", reader)).toBe(403);
      const attached = await edge.call("POST", "/api/v2/orchestrations/orch_large/run", {
        key: globex,
        body: { message: "m", attachments: [{ upload_id: id }] },
      });
      expect(attached.status).toBe(404);
      expect(await attached.json()).toMatchObject({ errors: [{ path: "attachments[0].upload_id" }] });
      expect(await statusOf("GET", reader)).toBe(200);
    });

    test("that no run uses is deleted with its bytes", async () => {
      const { id, url } = await stored("gone", `${ofAcme}a.txt`);
      expect(await keysInBucket(`acme/uploads/${id}`)).toHaveLength(1);
      expect((await edgeOf().call("DELETE", url)).status).toBe(204);
      expect((await edgeOf().call("GET", url)).status).toBe(404);
      expect(await keysInBucket(`acme/uploads/${id}`)).toEqual([]);
    });

    // Fails when the edge holds a body: its memory would grow by 96 MiB more. The bucket's simulator is in the same process, and takes some.
    test("of 96 MiB passes through the edge without being in its memory, unchanged", async () => {
      const edge = edgeOf();
      const before = memoryOf(edge.pid);
      const { view, sha256 } = await sendParts(edge, 96);
      expect(view).toMatchObject({ bytes: 96 * MIB, sha256 });
      expect(memoryOf(edge.pid, "VmHWM") - before).toBeLessThan(180 * MIB);
      const read = createHash("sha256");
      for await (const part of (await edge.call("GET", view.url)).body ?? []) read.update(part);
      expect(read.digest("hex")).toBe(sha256);
    });

    test("whose body ends early leaves nothing", async () => {
      const edge = edgeOf();
      await sendAndLeave(edge, "?tenant_id=leaver");
      // A later upload of the same tenant is stored, so the first one has been given up by then.
      await stored("x", "?tenant_id=leaver");
      await expect.poll(() => keysInBucket("leaver/uploads/")).toHaveLength(1);
    });
  });

  // Fails when an upload that was given up is completed, or leaves an object without a row, which no sweep deletes.
  test("an upload that was given up while its client paused is a 408, and leaves nothing", async () => {
    const edge = edgeOf();
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = open(edge, "?tenant_id=pauses", { "content-length": "200000" });
    sent.on("error", reject).on("response", resolve);
    await new Promise<void>((written) => sent.write("x".repeat(100_000), () => written()));
    const giveUp = () => edge.stores.sql`
      delete from uploads where tenant_id = 'pauses' and stored_at is null returning upload_id`;
    await expect.poll(giveUp).toHaveLength(1);
    sent.end("x".repeat(100_000));
    const answer = await promise;
    expect([answer.statusCode, await text(answer)]).toEqual([408, expect.stringContaining("2 minutes")]);
    expect(await keysInBucket("pauses/uploads/")).toEqual([]);
  });

  describe("an attachment of a run", () => {
    test("is a reference in state, which a template resolves to the file's text", async () => {
      const { id, ref } = await stored("three\nlines\nof text", `${ofAcme}notes.txt`, {
        "content-type": "text/plain",
      });
      const { output, final_state } = await runToEnd("orch_attached", { attachments: [{ upload_id: id }] });
      expect(output).toBe("notes.txt (text/plain, 19): three\nlines\nof text");
      expect(final_state).toMatchObject({ attachments: [ref] });
      // The run keeps the upload.
      const kept = await edgeOf().call("DELETE", ref.url);
      expect([kept.status, await kept.json()]).toEqual([
        409,
        expect.objectContaining({ code: "upload_in_use" }),
      ]);
    });

    test("that is no text, or has over 1 MiB, fails the template that reads its bytes, and no other step", async () => {
      const binary = await stored(new Uint8Array([0, 1, 2]), `${ofAcme}a.bin`, {
        "content-type": "image/png",
      });
      const large = await stored("x".repeat(MIB + 1), `${ofAcme}a.txt`, { "content-type": "text/plain" });
      for (const { id } of [binary, large]) {
        const failed = await runToEnd("orch_attached", { attachments: [{ upload_id: id }] });
        expect(failed).toMatchObject({ status: "failed", error: { code: "file_not_text", step_id: "a" } });
        const named = await runToEnd("orch_attached_name", { attachments: [{ upload_id: id }] });
        expect(named).toMatchObject({ status: "completed" });
      }
    });

    test("may also be given as a reference in state, and is kept then too", async () => {
      const { ref } = await stored("of state", `${ofAcme}a.txt`, { "content-type": "text/plain" });
      const { output } = await runToEnd("orch_attached", { state: { attachments: [ref] } });
      expect(output).toBe("a.txt (text/plain, 8): of state");
      expect((await edgeOf().call("DELETE", ref.url)).status).toBe(409);
    });
  });
}

/** Starts a run of acme and waits for its end. */
export async function runOf(edge: Edge, orchestration: string, body: Record<string, unknown>) {
  const path = `/api/v2/orchestrations/${orchestration}/run`;
  const started = await edge.call("POST", path, { body: { tenant_id: "acme", message: "m", ...body } });
  expect([started.status, started.status === 202 || (await started.text())]).toEqual([202, true]);
  const { run_id } = z.object({ run_id: z.string() }).parse(await started.json());
  const result = `/api/v2/orchestrations/runs/${run_id}/result`;
  await vi.waitFor(async () => expect((await edge.call("GET", result)).status).toBe(200), {
    timeout: 100_000,
    interval: 50,
  });
  return Result.parse(await (await edge.call("GET", result)).json());
}

const Result = z.looseObject({
  run_id: z.string(),
  status: z.string(),
  output: z.unknown(),
  final_state: z.looseObject({}),
});

/** The resident memory of a process now, or the most that it has had. */
export function memoryOf(pid: number, which: "VmRSS" | "VmHWM" = "VmRSS"): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const [, kib = "0"] = new RegExp(`${which}:\\s+(\\d+) kB`).exec(status) ?? [];
  return Number(kib) * 1024;
}

/** Definitions that the tests above run. */
export const attachedDefinitions = {
  orch_attached: printOf(
    "{state.attachments.0.name} ({state.attachments.0.content_type}, {state.attachments.0.size}): {state.attachments.0}",
  ),
  orch_attached_name: {
    name: "Name",
    entry_step_id: "a",
    state_schema: { attachments: { type: "array", default: [] } },
    // Code sees references to files as they are.
    steps: [
      { id: "a", type: "transform", transform_code: "result = state.attachments[0].name", output_key: "n" },
    ],
  },
};

function printOf(print_content: string) {
  return {
    name: "Attached",
    entry_step_id: "a",
    state_schema: { attachments: { type: "array", default: [] } },
    steps: [{ id: "a", type: "print", print_content }],
  };
}

function open(edge: Edge, query: string, headers: Record<string, string>) {
  const url = new URL(`${edge.base}${UPLOADS}${query}`);
  return request(url, {
    method: "POST",
    headers: { authorization: `Bearer ${edge.platformKey}`, ...headers },
  });
}

function sendChunked(edge: Edge, parts: readonly string[]): Promise<[number, string]> {
  const { promise, resolve, reject } = Promise.withResolvers<[number, string]>();
  const sent = open(edge, "", { "transfer-encoding": "chunked" });
  sent.on("error", reject).on("response", (response) => {
    text(response).then((body) => resolve([response.statusCode ?? 0, body]), reject);
  });
  for (const part of parts) sent.write(part);
  sent.end();
  return promise;
}

async function sendParts(edge: Edge, mib: number) {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = open(edge, "?tenant_id=acme", { "content-length": String(mib * MIB) });
  sent.on("error", reject).on("response", resolve);
  const hash = createHash("sha256");
  const part = randomBytes(MIB);
  for (let i = 0; i < mib; i++) {
    // Each part differs, so that parts that change places are noticed.
    part.writeUInt32LE(i);
    hash.update(part);
    if (!sent.write(Buffer.from(part))) await new Promise((drained) => sent.once("drain", drained));
  }
  sent.end();
  const view = View.parse(JSON.parse(await text(await promise)));
  return { view, sha256: hash.digest("hex") };
}

/** Sends a part of a body, and closes the connection. */
async function sendAndLeave(edge: Edge, query: string): Promise<void> {
  const sent = open(edge, query, { "content-length": "1000000" });
  sent.on("error", () => {});
  await new Promise<void>((resolve) => sent.write("x".repeat(100_000), () => resolve()));
  sent.destroy();
}
