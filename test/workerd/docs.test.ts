/** The static files of the Worker: the page of the API's reference and the documents. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEdge, type Edge } from "./edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

async function get(path: string): Promise<{ status: number; type: string; text: string }> {
  const answer = await fetch(edge.base + path);
  const type = answer.headers.get("content-type") ?? "";
  return { status: answer.status, type, text: await answer.text() };
}

test("the page /docs needs nothing from another server", async () => {
  const page = await get("/docs");
  expect(page).toMatchObject({ status: 200, type: "text/html; charset=utf-8" });
  const addresses = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address = ""]) => address);
  const local = addresses.filter((address) => address !== "data:,");
  expect(local).toEqual(["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"]);
  for (const address of [...local, "/api/v2/openapi.json"]) expect((await get(address)).status).toBe(200);
});

// RFC 9110, 9.3.2: a HEAD is answered as the GET is, without the body.
test("a HEAD of a file, and of nothing, is answered as its GET", async () => {
  for (const path of ["/docs", "/llms.txt", "/docs/none.txt"]) {
    const [head, whole] = [await fetch(edge.base + path, { method: "HEAD" }), await get(path)];
    const type = head.headers.get("content-type");
    expect([path, head.status, type, await head.text()]).toEqual([path, whole.status, whole.type, ""]);
  }
});

test("every document that llms.txt names is served as Markdown, and its links to others lead there", async () => {
  const { text } = await get("/llms.txt");
  const paths = [...text.matchAll(/\]\((\/docs\/[^)]+)\)/g)].map(([, path = ""]) => path);
  expect(paths).toContain("/docs/protocol.md");
  for (const path of paths) {
    const page = await get(path);
    expect(page).toMatchObject({ status: 200, type: "text/markdown; charset=utf-8" });
    for (const [, target = ""] of page.text.matchAll(/\]\(([^)#:\s]+\.md)(?:#[^)]*)?\)/g)) {
      expect(paths).toContain(new URL(target, `http://edge${path}`).pathname);
    }
  }
});

test("a path without a file is a problem that says so, and no other file of the folder is served", async () => {
  for (const path of ["/docs/none.txt", "/.gitignore", "/docs/..%2f..%2fpackage.json"]) {
    expect(await get(path)).toMatchObject({ status: 404, type: "application/problem+json" });
  }
});
