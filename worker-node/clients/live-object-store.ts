import type { S3Bucket } from "../../shared/contracts/s3-bucket.ts";
import { log } from "../../shared/log.ts";
import { ObjectStoreError } from "../execution/object-store.ts";
import { createObjectStore } from "./s3-object-store.ts";
import type { CheckedObjectStore } from "./s3-object-store.ts";

/**
 * The object store of a worker, which an operator may change while the worker runs: docs/protocol.md 7.19. It is the bucket of the settings,
 * else that of the variables. A call goes on with the bucket that it began with.
 *
 * An object that the bucket does not have is read from the one before it, and from that of the variables: other workers may
 * have stored it there until they had the change too. An object that is in none of them may be in a bucket that this worker does not know yet: it
 * asks for the settings before it reports that the object is missing.
 */
export class LiveObjectStore {
  readonly #ofVariables: CheckedObjectStore | null;
  readonly #open: (bucket: S3Bucket) => CheckedObjectStore;
  #refresh: () => Promise<void> = async () => {};
  #used = "null";
  /** The store in use, then those that are read after it. */
  #stores: readonly CheckedObjectStore[];
  #current: CheckedObjectStore | null;

  /** @param ofVariables null: the variables name no bucket */
  constructor(ofVariables: CheckedObjectStore | null, open = openBucket) {
    this.#ofVariables = ofVariables;
    this.#open = open;
    this.#stores = ofVariables === null ? [] : [ofVariables];
    this.#current = ofVariables && this.#reading(ofVariables);
  }

  /** The object store of this moment; null: this worker has none. */
  readonly current = (): CheckedObjectStore | null => this.#current;

  /** @param refresh makes this worker read its settings; it resolves when they hold, and never rejects */
  onMissing(refresh: () => Promise<void>): void {
    this.#refresh = refresh;
  }

  /** Uses this bucket from now on; null: that of the variables. */
  use(bucket: S3Bucket | null): void {
    const used = JSON.stringify(bucket);
    if (used === this.#used) return;
    this.#used = used;
    const [before] = this.#current === null ? [] : this.#stores;
    const store = bucket === null ? this.#ofVariables : this.#open(bucket);
    const stores = [store, before, this.#ofVariables].filter((each) => each !== undefined && each !== null);
    this.#stores = [...new Set(stores)];
    this.#current = store && this.#reading(store);
    log.info("object_store.changed", { origin: bucket === null ? "environment" : "setting" });
  }

  #reading(store: CheckedObjectStore): CheckedObjectStore {
    return {
      ...store,
      get: (key, maxBytes) => this.#read((each) => each.get(key, maxBytes)),
      readRange: (key, offset, length) => this.#read((each) => each.readRange(key, offset, length)),
    };
  }

  async #read<Found>(read: (store: CheckedObjectStore) => Promise<Found>): Promise<Found> {
    const stores = this.#stores;
    try {
      return await firstFound(stores, read);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await this.#refresh();
      if (this.#stores === stores) throw error;
      return firstFound(this.#stores, read);
    }
  }
}

function openBucket({ endpoint, bucket, region, ...credentials }: S3Bucket): CheckedObjectStore {
  return createObjectStore({ endpoint, bucket, region, credentials });
}

/**
 * What the first store returns that has the object.
 * @throws the error of the first store, when none has it; the error of a later store that does not answer
 */
async function firstFound<Found>(
  [store, ...rest]: readonly CheckedObjectStore[],
  read: (store: CheckedObjectStore) => Promise<Found>,
): Promise<Found> {
  if (store === undefined) throw new ObjectStoreError("missing", "this worker has no object store");
  try {
    return await read(store);
  } catch (error) {
    if (!isMissing(error) || rest.length === 0) throw error;
    return firstFound(rest, read).catch((later: unknown) => {
      // A store that was replaced may refuse its old keys. It does not have the object for this worker.
      throw later instanceof ObjectStoreError ? error : later;
    });
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof ObjectStoreError && error.why === "missing";
}
