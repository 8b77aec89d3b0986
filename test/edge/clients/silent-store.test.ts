import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openArtifacts } from "../../../edge/clients/artifacts.ts";
import type { Bucket } from "../../../edge/clients/bucket.ts";

beforeAll(() => {
  vi.useFakeTimers();
  // Node has no stream of this kind. The length has no part in these tests.
  vi.stubGlobal(
    "FixedLengthStream",
    class extends TransformStream {
      readonly length: number;
      constructor(length: number) {
        super();
        this.length = length;
      }
    },
  );
});
afterAll(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const unused = async () => {
  throw new Error("the test does not use this method");
};
/** A bucket whose `put` never ends, and which has no object. */
const silentBucket = (read: (body: ReadableStream) => Promise<void>): Bucket => ({
  head: async () => null,
  get: unused,
  delete: unused,
  list: unused,
  async put(_key, body) {
    await read(body);
    await new Promise(() => {});
  },
});

// Fails when the client of an upload waits for ever: an S3 store that is silent ends no request by itself.
test.each<[string, (body: ReadableStream) => Promise<void>]>([
  ["takes no part", async () => {}],
  [
    "does not reply after the last part",
    async (body) => {
      for await (const _ of body);
    },
  ],
])("an upload to a store that %s is refused after two minutes", async (_name, read) => {
  const parts = async function* () {
    yield new Uint8Array(3);
    yield new Uint8Array(3);
  };
  const put = openArtifacts([silentBucket(read)]).put("k", parts(), { length: 6, contentType: "text/plain" });
  const code = put.then(
    () => "stored",
    (error: unknown) => error,
  );
  for (let minutes = 0; minutes < 5; minutes++) await vi.advanceTimersByTimeAsync(60_000);
  expect(await Promise.race([code, Promise.resolve("no answer")])).toMatchObject({ code: "artifacts_away" });
});
