import { onTestFinished } from "vitest";

type Closable = { close(): Promise<unknown> };

/** Closes a resource when the test has finished: the last one first. */
export function closeAfterTest<Resource extends Closable>(resource: Resource): Resource {
  onTestFinished(async () => {
    await resource.close();
  });
  return resource;
}

/** A server that has started, and is closed when the test has finished. */
export async function started<Server extends Closable>(starting: Promise<Server>): Promise<Server> {
  return closeAfterTest(await starting);
}
