import { expect, test } from "vitest";
import { givenVariables } from "../../shared/given-variables.ts";

test("a variable is its text without white space around it, and an empty one is not set", () => {
  // A secret made with `echo … | base64` ends with a line break, and .env files list variables without a value.
  const env = { TOKEN: "t0ken\n", LIST: " a, b ", NONE: "", BLANK: " \r\n", ABSENT: undefined };
  expect(givenVariables(env)).toEqual({ TOKEN: "t0ken", LIST: "a, b" });
});

// Fails when a Service named `edge` or `redis-rest` in the same namespace keeps a program from starting.
test("the address of a Kubernetes Service is no port", () => {
  const env = {
    EDGE_PORT: "tcp://10.43.161.118:8123",
    REDIS_REST_PORT: "udp://10.43.161.119:8079",
    WORKER_HEALTH_PORT: "9000",
    HTTPS_PROXY: "tcp://10.0.0.1:3128",
  };
  expect(givenVariables(env)).toEqual({ WORKER_HEALTH_PORT: "9000", HTTPS_PROXY: "tcp://10.0.0.1:3128" });
});
