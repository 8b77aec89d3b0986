/** Every form of REDIS_URL, and the error for each malformed one. */
import { describe, expect, test } from "vitest";
import { parseRedisUrl } from "../../../worker-node/clients/redis-url.ts";
import { readRestConfig } from "../../../worker-node/redis-rest/rest-config.ts";

const plain = { tls: false };
const node = (host: string, port = 6379) => ({ host, port });

describe("REDIS_URL", () => {
  test.each([
    ["redis://localhost", { ...plain, kind: "single", node: node("localhost"), db: 0 }],
    ["redis://10.0.0.1:7000/3", { ...plain, kind: "single", node: node("10.0.0.1", 7000), db: 3 }],
    ["redis://h:80/", { ...plain, kind: "single", node: node("h", 80), db: 0 }],
    ["redis://[::1]:6380", { ...plain, kind: "single", node: node("::1", 6380), db: 0 }],
    ["redis://:p%40ss@h", { ...plain, password: "p@ss", kind: "single", node: node("h"), db: 0 }],
    [
      "rediss://me:pw@h:6390",
      { tls: true, username: "me", password: "pw", kind: "single", node: node("h", 6390), db: 0 },
    ],
    ["redis+cluster://a,b:7001", { ...plain, kind: "cluster", nodes: [node("a"), node("b", 7001)] }],
    [
      "rediss+cluster://:pw@a, b",
      { tls: true, password: "pw", kind: "cluster", nodes: [node("a"), node("b")] },
    ],
  ])("%s", (REDIS_URL, target) => {
    expect(parseRedisUrl({ REDIS_URL })).toEqual(target);
  });

  test("a list is a cluster with REDIS_CLUSTER_MODE, and so is one host", () => {
    const cluster = { REDIS_CLUSTER_MODE: "true" } as const;
    const twoNodes = { ...plain, kind: "cluster", nodes: [node("a"), node("b")] };
    expect(parseRedisUrl({ REDIS_URL: "redis://a,redis://b", ...cluster })).toEqual(twoNodes);
    expect(parseRedisUrl({ REDIS_URL: "a:6379,b:6379", ...cluster })).toEqual(twoNodes);
    expect(parseRedisUrl({ REDIS_URL: "redis://a", ...cluster })).toMatchObject({ nodes: [node("a")] });
  });

  test("a list is sentinels with REDIS_SENTINEL_NAME, on their own port", () => {
    expect(parseRedisUrl({ REDIS_URL: "redis://:pw@a,b:7000/2", REDIS_SENTINEL_NAME: "main" })).toEqual({
      ...plain,
      password: "pw",
      kind: "sentinel",
      name: "main",
      sentinels: [node("a", 26379), node("b", 7000)],
      db: 2,
    });
  });

  test.each([
    [{ REDIS_URL: "redis://:a%zz@h" }, /is written %25/],
    [{ REDIS_URL: "" }, /^REDIS_URL is missing: write redis:/],
    [{ REDIS_URL: "http://h" }, /write redis:\/\/host:6379/],
    [{ REDIS_URL: "redis://" }, /write redis:\/\/host:6379/],
    [{ REDIS_URL: "redis://h:port" }, /write redis:\/\/host:6379/],
    [{ REDIS_URL: "redis://h/db" }, /number of a database/],
    [{ REDIS_URL: "redis://h?ssl=true" }, /leave out what follows/],
    [{ REDIS_URL: "redis://a,b" }, /REDIS_CLUSTER_MODE=true or REDIS_SENTINEL_NAME/],
    [{ REDIS_URL: "redis+cluster://a/1" }, /only database 0/],
    [{ REDIS_URL: "a,b", REDIS_CLUSTER_MODE: "true", REDIS_SENTINEL_NAME: "m" }, /not both/],
  ] as const)("%j stops the start with a sentence", (env, sentence) => {
    expect(() => parseRedisUrl(env)).toThrow(sentence);
  });

  test("the error for a malformed URL does not contain the password", () => {
    expect(() => parseRedisUrl({ REDIS_URL: "redis://:s3cret@a,b" })).toThrow(/^(?!.*s3cret)/s);
  });
});

describe("the environment of redis-rest", () => {
  const right = { REDIS_URL: "redis://h", REDIS_REST_TOKEN: "t" };

  test("needs REDIS_URL and a token, and has defaults for the rest", () => {
    expect(readRestConfig(right)).toMatchObject({ token: "t", host: "127.0.0.1", port: 8079 });
    expect(readRestConfig({ ...right, REDIS_REST_PORT: "0", REDIS_REST_HOST: "0.0.0.0" })).toMatchObject({
      host: "0.0.0.0",
      port: 0,
    });
  });

  test("takes a token from a file, empty variables and the address of a Service named redis-rest for what they mean", () => {
    const env = { REDIS_REST_TOKEN: "t\n", REDIS_REST_TIMEOUT_SECONDS: "", REDIS_REST_READONLY_TOKEN: "" };
    const config = readRestConfig({ ...right, ...env, REDIS_REST_PORT: "tcp://10.43.161.119:8079" });
    expect(config).toMatchObject({ token: "t", timeoutMs: 60_000, readOnlyToken: undefined, port: 8079 });
  });

  test.each([
    [{ REDIS_REST_TOKEN: undefined }, /^REDIS_REST_TOKEN is missing: write/],
    [{ REDIS_REST_TOKEN: " \n" }, /^REDIS_REST_TOKEN is missing: write/],
    [{ REDIS_URL: undefined }, /^REDIS_URL is missing: write/],
    [{ REDIS_REST_PORT: "web" }, /^REDIS_REST_PORT is a port number/],
    [{ REDIS_REST_PORT: "65536" }, /^REDIS_REST_PORT is a port number/],
    [{ REDIS_CLUSTER_MODE: "yes" }, /^REDIS_CLUSTER_MODE is true or false/],
  ])("%j stops the start with a sentence", (wrong, sentence) => {
    expect(() => readRestConfig({ ...right, ...wrong })).toThrow(sentence);
  });
});
