/** The routes without a body, taken from the OpenAPI document: nothing that a client sends in one is ignored in silence. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorsOf, startApp, type TestApp } from "../app.ts";
import { documentedRoutes } from "./documented-routes.ts";

/** All routes that change something and document no body. */
const routes = documentedRoutes().filter(({ method, hasBody }) => method !== "GET" && !hasBody);

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

test("the document has cancels, pauses and deletes without a body", () => {
  expect(routes.length).toBeGreaterThan(30);
});

describe("a body that a route does not read", () => {
  // Fails when a route ignores it: `{"turn_id": …}` would cancel another turn than the client means.
  test.each(routes)("is a 422 of $method $path that names its fields", async ({ method, path, needsKey }) => {
    const body = { colour: "red" };
    const answer = await app.call(method, path, { body });
    expect([answer.status, await errorsOf(answer)]).toEqual([
      422,
      [{ path: "colour", message: "is no field of this request: it takes no body" }],
    ]);
    const withoutKey = await app.call(method, path, { key: null, body });
    expect(withoutKey.status).toBe(needsKey ? 401 : 422);
  });

  // Fails when the body of a client that sends `{}` with every request is refused.
  test.each(routes)("may be empty, {} or null: $method $path", async ({ method, path }) => {
    for (const body of [{}, null]) {
      const answer = await app.call(method, path, { body });
      expect(await answer.text()).not.toContain("takes no");
    }
  });

  test.each(routes.flatMap(({ method, path, query }) => query.map(({ name }) => ({ method, path, name }))))(
    "that has the query parameter $name of $method $path is refused with the place of the parameter",
    async ({ method, path, name }) => {
      const [error] = await errorsOf(await app.call(method, path, { body: { [name]: "x" } }));
      expect(error).toEqual({
        path: name,
        message: "is a query parameter of this request: send it in the URL",
      });
    },
  );

  test("is refused whatever it is, and ignored under `Prefer: handling=lenient`", async () => {
    const path = "/api/v2/orchestrations/runs/run_000000000000_1780499750067/cancel";
    for (const body of [[], "text", 7, false]) {
      const answer = await app.call("POST", path, { body });
      expect([body, answer.status, await errorsOf(answer)]).toEqual([
        body,
        422,
        [{ path: "", message: "must be empty: this request takes none" }],
      ]);
    }
    const headers = { prefer: "handling=lenient" };
    const lenient = await app.call("POST", path, { body: { colour: "red" }, headers });
    expect([lenient.status, lenient.headers.get("preference-applied")]).toEqual([404, "handling=lenient"]);
  });
});
