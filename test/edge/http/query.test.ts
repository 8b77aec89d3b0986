/** The query of every route, taken from the OpenAPI document: no parameter of a request is ignored in silence. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorsOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { documentedRoutes } from "./documented-routes.ts";

const routes = documentedRoutes();

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

test("the document has every route of the API with its query", () => {
  expect(routes.length).toBeGreaterThan(45);
  expect(routes.filter(({ query }) => query.length > 0).length).toBeGreaterThan(20);
});

describe("an unknown query parameter", () => {
  // Fails when a route ignores what it does not know: `?tenant=acme` would list the runs of all tenants.
  test.each(routes)("of $method $path is a 422 that names it", async ({ method, path, needsKey }) => {
    const answer = await app.call(method, `${path}?colour=red`);
    expect([answer.status, await errorsOf(answer)]).toMatchObject([422, [{ path: "colour" }]]);
    const withoutKey = await app.call(method, `${path}?colour=red`, { key: null });
    expect(withoutKey.status).toBe(needsKey ? 401 : 422);
  });

  // Fails when the error names no parameter, or one of another route.
  test.each(
    routes.flatMap(({ method, path, query }) =>
      query.slice(0, 1).map(({ name }) => ({ method, path, name })),
    ),
  )("of $method $path that is $name misspelt is answered with $name", async ({ method, path, name }) => {
    const misspelt = `${name}s`;
    const [error] = await errorsOf(await app.call(method, `${path}?${misspelt}=x`));
    expect(error).toEqual({
      path: misspelt,
      message: `is no query parameter of this request: did you mean ${name}?`,
    });
  });

  test("is refused with all parameters of the route when no name is similar; the error of a route without any says that there is none", async () => {
    const messages = async (path: string) =>
      (await errorsOf(await app.call("GET", path))).map(({ message }) => message);
    expect(await messages("/scale/tenants?colour=red")).toEqual([
      "is no query parameter of this request: the query parameters are limit, cursor",
    ]);
    expect(await messages("/api/v2/models?colour=red")).toEqual([
      "is no query parameter of this request: there is none",
    ]);
  });

  test("is refused also by routes that the document does not have, and a path that does not exist stays a 404", async () => {
    expect((await app.call("GET", "/api/v2/openapi.json?format=yaml")).status).toBe(422);
    expect((await app.call("GET", "/nowhere?format=yaml")).status).toBe(404);
    expect((await app.call("HEAD", "/api/v2/workers?colour=red")).status).toBe(422);
  });

  test("is ignored under `Prefer: handling=lenient`, with `Preference-Applied` in the answer", async () => {
    const headers = { prefer: "handling=lenient" };
    const answer = await app.call("GET", "/api/v2/workers?colour=red", { headers });
    expect([answer.status, answer.headers.get("preference-applied")]).toEqual([200, "handling=lenient"]);
    const stream = await app.call("GET", "/api/v2/events/stream?colour=red", { headers });
    expect([stream.status, stream.headers.get("preference-applied")]).toEqual([200, "handling=lenient"]);
    await stream.body?.cancel();
    const plain = await app.call("GET", "/scale/tenants?limit=5", { headers });
    expect([plain.status, plain.headers.get("preference-applied")]).toEqual([200, null]);
  });
});

describe("a query parameter that is sent twice", () => {
  /** The parameters of streams that may come twice: a list of tokens, and a position of which the last value counts. */
  const LISTS = /^(?:token|last-?_?event-?_?id)$/i;

  // Fails when one of two values is ignored in silence.
  test.each(
    routes.flatMap(({ method, path, query }) =>
      query.filter(({ name }) => !LISTS.test(name)).map(({ name }) => ({ method, path, name })),
    ),
  )("is a 422 that names $name of $method $path", async ({ method, path, name }) => {
    const answer = await app.call(method, `${path}?${name}=1&${name}=1`);
    const values = /^(?:status|runs)$/.test(name) ? ", all its values in it, separated by commas" : "";
    const message = `is sent more than once, and one value is read: send it once${values}`;
    expect([answer.status, await errorsOf(answer)]).toEqual([422, [{ path: name, message }]]);
  });

  test("is read where it is a list, and needs a key like any other", async () => {
    const stream = await app.call("GET", "/api/v2/events/stream?token=a&token=b", { key: null });
    expect(stream.status).toBe(401);
    const withoutKey = await app.call("GET", "/scale/tenants?limit=1&limit=2", { key: null });
    expect(withoutKey.status).toBe(401);
  });
});

describe("a whole number in a query", () => {
  const numbers = routes.flatMap(({ method, path, query }) =>
    query.filter(({ schema }) => schema["type"] === "integer").map(({ name }) => ({ method, path, name })),
  );

  test("is documented as one in every list", () => expect(numbers.length).toBeGreaterThan(30));

  // Fails when a text that is no decimal number is read as a number: the client would get another page without an error.
  test.each(numbers)("is digits alone: $name of $method $path", async ({ method, path, name }) => {
    for (const text of ["0x10", "1e1", " 5", "+5", "5.0", "", "-1", "٣", "1_0"]) {
      const answer = await app.call(method, `${path}?${name}=${encodeURIComponent(text)}`);
      const [error] = await errorsOf(answer);
      expect([text, answer.status, error?.path]).toEqual([text, 422, name]);
      expect(error?.message).toMatch(/^must be a whole number from 1 to \d+, in decimal digits$/);
    }
    const [large] = await errorsOf(await app.call(method, `${path}?${name}=${"9".repeat(30)}`));
    expect(large?.message).toMatch(/^must be at most \d+$/);
  });
});

// Fails when a documented parameter is refused as unknown.
test.each(routes.flatMap(({ method, path, query }) => query.map(({ name }) => ({ method, path, name }))))(
  "$name is a query parameter of $method $path",
  async ({ method, path, name }) => {
    const answer = await app.call(method, `${path}?${name}=1`);
    if (answer.status === 422) expect(await answer.text()).not.toContain("no query parameter");
    else await answer.body?.cancel();
  },
);

// Fails when a value that no row can have is ignored, or returns an empty list instead of a 422.
test.each(
  routes.flatMap(({ method, path, query }) =>
    query.flatMap(({ name, schema }) => (schema.enum ? [{ method, path, name, known: schema.enum }] : [])),
  ),
)(
  "an unknown value of $name at $method $path is a 422 with the known ones",
  async ({ method, path, name, known }) => {
    const body = method === "GET" ? {} : { body: {} };
    const answer = await app.call(method, `${path}?${name}=no-such-value`, body);
    const [error] = await errorsOf(answer);
    expect([answer.status, error?.path]).toEqual([422, name]);
    for (const value of known) expect(error?.message).toContain(value);
  },
);

describe("a range that ends before it begins", () => {
  const [early, late] = ["2026-05-01T00:00:00Z", "2026-06-01T00:00:00+02:00"];
  const errorsFor = async (method: string, path: string, body?: unknown) => {
    const answer = await app.call(method, path, { body });
    return [answer.status, (await errorsOf(answer)).map(({ path: field }) => field)];
  };

  test.each(["/api/v2/orchestrations/runs", "/scale/runs"])(
    "of %s is a 422 that names both times",
    async (path) => {
      const query = (since: string, until: string) =>
        `${path}?since=${encodeURIComponent(since)}&until=${encodeURIComponent(until)}`;
      expect(await errorsFor("GET", query(late, early))).toEqual([422, ["since", "until"]]);
      expect((await app.call("GET", query(early, late))).status).toBe(200);
      // An empty range is allowed: a client that steps through time may request it.
      expect((await app.call("GET", query(early, early))).status).toBe(200);
    },
  );

  test.each(["runs:cancel", "runs:retry"])("of a %s is a 422 that names both times", async (action) => {
    const path = `/api/v2/orchestrations/${action}`;
    for (const dry_run of [true, false]) {
      const body = { since: late, until: early, dry_run };
      expect(await errorsFor("POST", path, body)).toEqual([422, ["since", "until"]]);
    }
  });

  test("of a run's events is a 422 that names both ids", async () => {
    const run = await startRun(app);
    const base = run.slice(-13);
    const events = (start: string, end: string) => runPath(run, `events?start=${start}&end=${end}`);
    expect(await errorsFor("GET", events(`${base}-3`, `${base}-2`))).toEqual([422, ["start", "end"]]);
    expect((await app.call("GET", events(`${base}-2`, `${base}-2`))).status).toBe(200);
    expect((await app.call("GET", events("-", "0-0"))).status).toBe(200);
  });
});
