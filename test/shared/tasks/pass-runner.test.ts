import { expect, test } from "vitest";
import { PassRunner } from "../../../shared/tasks/pass-runner.ts";

/** A runner whose passes end when the test says so, in the order in which they began. */
function heldPasses() {
  const begun: PromiseWithResolvers<void>[] = [];
  const runner = new PassRunner(() => {
    const pass = Promise.withResolvers<void>();
    begun.push(pass);
    return pass.promise;
  });
  return { runner, begun };
}

test("requests during a pass together cause one more, right after it", async () => {
  const { runner, begun } = heldPasses();
  runner.request();
  runner.request();
  runner.request();
  expect(begun).toHaveLength(1);
  begun[0]?.resolve();
  await expect.poll(() => begun.length).toBe(2);
  begun[1]?.resolve();
  await runner.finish();
  expect(begun).toHaveLength(2);
});

test("finish waits for the pass under way, and drops the request for a further one", async () => {
  const { runner, begun } = heldPasses();
  runner.request();
  runner.request();
  let isFinished = false;
  const finished = runner.finish().then(() => (isFinished = true));
  await Promise.resolve();
  expect(isFinished).toBe(false);
  begun[0]?.resolve();
  await finished;
  expect(begun).toHaveLength(1);
});

// Fails when the last pass asks for another one, which then uses stores that its owner has closed after `finish`.
test("finish also drops the requests that come until the pass under way has ended", async () => {
  const { runner, begun } = heldPasses();
  runner.request();
  const finished = runner.finish();
  runner.request();
  begun[0]?.resolve();
  await finished;
  expect(begun).toHaveLength(1);
  runner.request();
  expect(begun).toHaveLength(2);
});

test("a request after the end of a pass begins another one", async () => {
  const { runner, begun } = heldPasses();
  runner.request();
  begun[0]?.resolve();
  await runner.finish();
  runner.request();
  expect(begun).toHaveLength(2);
});
