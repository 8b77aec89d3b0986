import { expect, test } from "vitest";
import { freePort } from "../../local/processes/free-ports.ts";
import { readConfig } from "../../worker-node/config.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";

const valid = {
  REDIS_URL: "redis://127.0.0.1:6379",
  SCALE_POSTGRES_URL: "postgres://user@127.0.0.1:5432/db",
};

const EGRESS_SENTENCE =
  "must be a host name (tools.internal), an address (10.1.2.3) or a range (10.0.0.0/8): no scheme, no port, no *";

const COLLECTOR_SENTENCE =
  "OTLP_ENDPOINT must be an http or https URL without user and password, like http://collector:4317";

// Fails when a message does not begin with its variable, does not name a correct value, or is repeated.
test.each([
  ["WORKER_LANES", "foo,bar", "WORKER_LANES must be names out of interactive, default, bulk, mail, webhooks"],
  ["MODEL_TIMEOUT_SECONDS", "1.5", "MODEL_TIMEOUT_SECONDS must be a whole number from 1 to 3600"],
  ["MODEL_TIMEOUT_SECONDS", "0.5", "MODEL_TIMEOUT_SECONDS must be a whole number from 1 to 3600"],
  ["WORKER_CONCURRENCY", "many", "WORKER_CONCURRENCY must be a whole number from 1 to 1000"],
  ["WORKER_HEALTH_PORT", "70000", "WORKER_HEALTH_PORT must be a whole number from 0 to 65535"],
  ["SMTP_URL", "smtp://127.0.0.1", "SMTP_URL and SMTP_FROM belong together: set both, or neither"],
  ["OTLP_ENDPOINT", "collector:4317", COLLECTOR_SENTENCE],
  ["OTLP_ENDPOINT", "https://user:password@collector:4317", COLLECTOR_SENTENCE],
  ["S3_ENDPOINT", "minio:9000", "S3_ENDPOINT must be a URL like https://account.r2.cloudflarestorage.com"],
  [
    "OTEL_TRACES_SAMPLER",
    "jaeger_remote",
    "OTEL_TRACES_SAMPLER must be one of parentbased_always_on, parentbased_always_off, parentbased_traceidratio, always_on, always_off, traceidratio",
  ],
  [
    "OTEL_TRACES_SAMPLER_ARG",
    "10%",
    "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, the share of the traces that are sent",
  ],
  ["STATE_SECRET", "fifteen letters", "STATE_SECRET must be at least 16 characters long"],
  ["METRICS_TOKEN", "too-short", "METRICS_TOKEN must be at least 16 characters long"],
  [
    "METRICS_TOKEN",
    "a token with spaces in it",
    "METRICS_TOKEN must be visible ASCII characters, without spaces: it is sent in a header",
  ],
  ["EGRESS_ALLOW", "tools.internal,*.internal", `EGRESS_ALLOW: entry 2 ${EGRESS_SENTENCE}`],
])("%s=%s stops the start with one sentence that names it", (name, value, sentence) => {
  const read = () => readConfig({ ...valid, [name]: value });
  expect(read).toThrow(new Error(sentence));
});

// Fails when a line break in the sender can add a header to each mail.
test("a sender of mails that is no address stops the start", () => {
  const read = () => readConfig({ ...valid, SMTP_URL: "smtp://mail", SMTP_FROM: "a@b\r\nBcc: c@d" });
  expect(read).toThrow(new Error("SMTP_FROM must be an address such as Shop <mail@example.com>"));
});

// Fails when a password with # or % sends mails to another host, or is found to be wrong when the first mail is sent.
test.each([
  ["mail.example.com:587", "must be smtp://user:password@host:587 or smtps://user:password@host:465"],
  [
    "smtp://mailer:12#34@mail.example.com",
    "may have a user, a password, a host and a port, and nothing after them",
  ],
  ["smtp://mailer:5%zz@mail.example.com", "has a % that is no escape: write %25"],
])("SMTP_URL=%s stops the start with a sentence", (url, sentence) => {
  const read = () => readConfig({ ...valid, SMTP_URL: url, SMTP_FROM: "post@example.com" });
  expect(read).toThrow(new Error(`SMTP_URL ${sentence}`));
});

test("a valid environment is parsed, with defaults for what is not set", () => {
  const config = readConfig({
    ...valid,
    WORKER_LANES: "bulk, mail",
    TOOL_TIMEOUT_SECONDS: "7",
    EGRESS_ALLOW: "::1",
    SMTP_URL: "smtp://mailer:p%40ss@mail.example.com?requireTLS=true",
    SMTP_FROM: "post@example.com",
  });
  expect(config).toMatchObject({
    WORKER_LANES: ["bulk", "mail"],
    TOOL_TIMEOUT_SECONDS: 7,
    EGRESS_ALLOW: "::1",
    WORKER_CONCURRENCY: 10,
  });
});

// Fails when a secret from a file is another text than the same secret from a console, or a Service's name decides whether a worker starts.
test("white space around a value and the addresses of Kubernetes Services do not count", () => {
  const config = readConfig({
    ...valid,
    MASTER_KEY: `${"ab".repeat(32)}\n`,
    METRICS_TOKEN: "token-of-a-scraper\n",
    S3_SECRET_ACCESS_KEY: "secret\r\n",
    ENABLE_TENANT_ISOLATION: "0 ",
    WORKER_HEALTH_PORT: "tcp://10.43.0.7:9000",
  });
  expect(config).toMatchObject({
    METRICS_TOKEN: "token-of-a-scraper",
    S3_SECRET_ACCESS_KEY: "secret",
    ENABLE_TENANT_ISOLATION: false,
    WORKER_HEALTH_PORT: 9_000,
  });
});

const POSTGRES_SENTENCE =
  "must be a URL like postgres://user:password@host:5432/database, with : / ? # @ and % in user and password as %3A %2F %3F %23 %40 and %25";

// Fails when the driver connects to another server than the URL names, or waits for a host that is a piece of the password.
test.each([
  ["mysql://user@host/db", POSTGRES_SENTENCE],
  ["jdbc:postgresql://host:5432/db", POSTGRES_SENTENCE],
  ["localhost:5432/db", POSTGRES_SENTENCE],
  ["https://project.example", POSTGRES_SENTENCE],
  ['"postgres://user@host/db"', POSTGRES_SENTENCE],
  ["postgres://user:12#34@host/db", POSTGRES_SENTENCE],
  ["postgres://user:5%zz@host/db", POSTGRES_SENTENCE],
  ["postgres:///db?host=/var/run/postgresql", "has the parameter host: write it before the '?'"],
  ["postgres://host/db?user=u&password=p", "has the parameter user: write it before the '?'"],
])("SCALE_POSTGRES_URL=%s stops the start with a sentence", (url, sentence) => {
  for (const name of ["SCALE_POSTGRES_URL", "SCALE_POSTGRES_DIRECT_URL"]) {
    expect(() => readConfig({ ...valid, [name]: url })).toThrow(new Error(`${name} ${sentence}`));
  }
});

test.each([
  "postgresql://user:p%40ss@host/db?sslmode=verify-full",
  "postgres://user@[::1]:6432/db?prepare=false&application_name=edge&options=-c%20search_path%3Da",
])("SCALE_POSTGRES_URL=%s is accepted", (url) => {
  expect(readConfig({ ...valid, SCALE_POSTGRES_URL: url }).SCALE_POSTGRES_URL).toBe(url);
});

// Fails when the driver's "connect ECONNREFUSED" is the whole message.
test("the error for an unreachable database names its variable, and does not contain the URL", async () => {
  const url = `postgres://user:secret@127.0.0.1:${await freePort(0)}/db`;
  const failed = await migrate(url).catch((error: unknown) => error);
  expect(String(failed)).toMatch(
    /SCALE_POSTGRES_URL \(or SCALE_POSTGRES_DIRECT_URL, where it is set\).*connect ECONNREFUSED/,
  );
  expect(String(failed)).not.toContain("secret");
});
