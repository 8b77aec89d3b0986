import { expect, test } from "vitest";
import { ObjectStoreError } from "../../../worker-node/execution/object-store.ts";
import { LiveObjectStore } from "../../../worker-node/clients/live-object-store.ts";
import type { CheckedObjectStore } from "../../../worker-node/clients/s3-object-store.ts";

/** A bucket in memory. `refuses`: it no longer accepts the worker's keys. */
class Bucket implements CheckedObjectStore {
  readonly objects = new Map<string, string>();
  refuses = false;
  put = async (key: string, body: string) => void this.objects.set(key, body);
  get = async (key: string) => {
    if (this.refuses) throw new ObjectStoreError("refused", "HTTP 403");
    const found = this.objects.get(key);
    if (found === undefined) throw new ObjectStoreError("missing", "HTTP 404");
    return found;
  };
  readRange = async (key: string) => Buffer.from(await this.get(key));
  putStream = async (key: string, bytes: AsyncIterable<Uint8Array>) => {
    const parts: Uint8Array[] = [];
    for await (const part of bytes) parts.push(part);
    this.objects.set(key, Buffer.concat(parts).toString());
  };
  list = async function* () {};
  delete = async (key: string) => void this.objects.delete(key);
  check = async () => {};
}

const target = (bucket: string) => ({
  endpoint: "https://s3.example.com",
  bucket,
  region: "auto",
  accessKeyId: "id",
  secretAccessKey: "secret",
});

function stores(environmentBucket: Bucket | null = new Bucket()) {
  const buckets = new Map<string, Bucket>();
  const bucket = (name: string) => {
    const found = buckets.get(name) ?? new Bucket();
    buckets.set(name, found);
    return found;
  };
  const live = new LiveObjectStore(environmentBucket, (each) => bucket(each.bucket));
  return {
    environmentBucket,
    live,
    bucket,
    use: (name: string | null) => live.use(name === null ? null : target(name)),
  };
}
const read = (live: LiveObjectStore, key: string) => live.current()?.get(key, 1_000);

test("an object is written to the bucket of the settings, and without settings to that of the environment variables", async () => {
  const { live, bucket, use, environmentBucket } = stores();
  use("b");
  await live.current()?.put("x", "1", "application/json");
  use(null);
  await live.current()?.put("y", "2", "application/json");
  expect([...bucket("b").objects.keys(), ...(environmentBucket?.objects.keys() ?? [])]).toEqual(["x", "y"]);
});

// Fails when a change cuts off an upload, or sends its end to another bucket than its beginning.
test("an upload that is under way ends in the bucket in which it began", async () => {
  const { live, bucket, use } = stores();
  use("b");
  const half = Promise.withResolvers<void>();
  const bytes = async function* () {
    yield Buffer.from("one");
    await half.promise;
    yield Buffer.from("two");
  };
  const upload = live.current()?.putStream("x", bytes(), "text/plain");
  use("c");
  half.resolve();
  await upload;
  expect([bucket("b").objects.get("x"), bucket("c").objects.get("x")]).toEqual(["onetwo", undefined]);
});

// Fails when a value that another worker stored a moment before the change is gone.
test("an object that the new bucket does not have is read from the one before, and from that of the environment variables", async () => {
  const { live, bucket, use, environmentBucket } = stores();
  environmentBucket?.objects.set("old", "0");
  use("b");
  bucket("b").objects.set("x", "1");
  use("c");
  expect([await read(live, "x"), await read(live, "old")]).toEqual(["1", "0"]);
  bucket("b").refuses = true;
  await expect(read(live, "none")).rejects.toMatchObject({ why: "missing" });
});

// Fails when a worker that has the change later than another one fails a run for ever.
test("an object that no bucket has is searched again with the current settings before it counts as missing", async () => {
  const { live, bucket, use } = stores();
  let refreshes = 0;
  live.onMissing(async () => {
    refreshes += 1;
    use("b");
  });
  bucket("b").objects.set("x", "1");
  expect([await read(live, "x"), refreshes]).toEqual(["1", 1]);
  await expect(read(live, "none")).rejects.toMatchObject({ why: "missing" });
});

test("a worker without a bucket has one with the setting, and none without it", () => {
  const { live, use } = stores(null);
  expect(live.current()).toBeNull();
  use("b");
  expect(live.current()).not.toBeNull();
  use(null);
  expect(live.current()).toBeNull();
});
