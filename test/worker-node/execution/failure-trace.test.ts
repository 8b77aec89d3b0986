import { expect, test } from "vitest";
import { operatorTrace, traceOf } from "../../../worker-node/execution/failure-trace.ts";
import { TerminalError } from "../../../worker-node/engine/step-errors.ts";

const provider = new Error("refused sk-live-12345678 by https://10.1.2.3/v1\n    at fake (/etc/passwd:1:1)");
const failure = new TerminalError("model_bad_request", "the provider refuses the request", {
  cause: provider,
});

// Fails when a dead letter holds the text of a cause, or a path that is not one of this program.
test("the trace of a failure has classes, codes and places of this program, and no text", () => {
  const trace = traceOf(failure);
  expect(trace).toMatch(
    /^TerminalError model_bad_request\n {4}at .*test\/worker-node\/execution\/failure-trace/,
  );
  expect(trace).toContain("\ncaused by Error\n");
  expect(trace).not.toMatch(/refuse|10\.1\.2\.3|passwd|file:|node_modules/);
  expect(trace).not.toContain(new URL("../../..", import.meta.url).pathname);
});

test("the trace for operators has the texts, without the process's own secrets", () => {
  const trace = operatorTrace(failure, { OPENAI_API_KEY: "sk-live-12345678", HOME: "https://10.1.2.3" });
  expect(trace).toContain("caused by Error: refused *** by https://10.1.2.3/v1");
});

// Fails when a secret that was read from a file, with a line break at its end, is logged as soon as it is quoted without it.
test("the trace for operators has no secret whose variable ends with a line break", () => {
  const trace = operatorTrace(failure, { OPENAI_API_KEY: "sk-live-12345678\n" });
  expect(trace).toContain("caused by Error: refused *** by");
});

// Fails when the passwords of SMTP_URL or REDIS_URL are taken for harmless because their names are.
test("the trace for operators has no password of a URL in the environment, however a server quotes it", () => {
  const quoted = new Error(
    "535 no: mailer p@ss-word-1 (p%40ss-word-1); AUTH second-password at relay.example",
  );
  const env = {
    SMTP_URL: "smtp://mailer:p%40ss-word-1@relay.example:587",
    REDIS_URL: "redis+cluster://a:6379,redis://u:second-password@b:6379",
  };
  const trace = operatorTrace(quoted, env);
  expect(trace).toContain("535 no: mailer *** (***); AUTH *** at relay.example");
});
