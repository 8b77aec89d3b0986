/** A page in Debian's Chromium that watches a run with `EventSource`, and the HTTP connections of that page. */
import { createServer } from "node:http";
import { chromium, type Browser, type Page, type Response } from "playwright-core";
import { z } from "zod";

/**
 * The events that a page has received. `state` is EventSource's readyState: 0 connecting, 1 open, 2 closed for
 * good.
 */
const Seen = z.object({ ids: z.array(z.string()), data: z.array(z.string()), state: z.int() });
export type Seen = z.infer<typeof Seen>;

/** One request of the browser and the status of its response. `after` is its Last-Event-ID. */
export type Connection = { status: number; after: string | undefined };

const PAGE = `<!doctype html><title>viewer</title><script>
  const seen = { ids: [], data: [], state: 0 };
  let source;
  function watch(url, closeOnDone) {
    source = new EventSource(url);
    source.onmessage = (message) => {
      seen.ids.push(message.lastEventId);
      seen.data.push(message.data);
      if (closeOnDone && JSON.parse(message.data).type === "done") source.close();
    };
  }
  function look() { return { ...seen, state: source.readyState }; }
</script>`;

export class Tabs {
  readonly #browser: Browser;
  readonly #server = createServer((_, response) => response.end(PAGE));
  #address = "";

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  /** Starts the browser, and serves the page from an origin that is not the API's. */
  static async open(): Promise<Tabs> {
    const browser = await chromium.launch({
      executablePath: "/usr/bin/chromium",
      chromiumSandbox: process.getuid?.() !== 0, // Chromium refuses its sandbox under root
      timeout: 100_000,
    });
    const tabs = new Tabs(browser);
    await new Promise<void>((resolve) => tabs.#server.listen(0, "127.0.0.1", resolve));
    const address = tabs.#server.address();
    if (address === null || typeof address === "string") throw new Error("the page has no port");
    tabs.#address = `http://127.0.0.1:${address.port}/`;
    return tabs;
  }

  /** A new tab that watches `url`; with `closeOnDone` it closes its EventSource at the event `done`. */
  async watch(url: string, closeOnDone = false): Promise<Tab> {
    const { page, connections } = await this.#open();
    await page.evaluate(`watch(${JSON.stringify(url)}, ${closeOnDone})`);
    return { look: async () => Seen.parse(await page.evaluate("look()")), connections };
  }

  /** A new tab that executes `script`, as a page of a product would that is not on the API's origin. */
  async execute(script: string): Promise<{ page: Page } & Pick<Tab, "connections">> {
    const tab = await this.#open();
    await tab.page.addScriptTag({ content: script });
    return tab;
  }

  async #open(): Promise<{ page: Page } & Pick<Tab, "connections">> {
    const page = await this.#browser.newPage();
    const connections: Promise<Connection>[] = [];
    page.on("response", (answer) => {
      if (answer.request().resourceType() === "eventsource") connections.push(connectionOf(answer));
    });
    await page.goto(this.#address);
    return { page, connections: () => Promise.all(connections) };
  }

  async close(): Promise<void> {
    await this.#browser.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export type Tab = {
  look(): Promise<Seen>;
  /** The connections that got a response, in order. */
  connections(): Promise<Connection[]>;
};

async function connectionOf(answer: Response): Promise<Connection> {
  // `headers()` does not contain Last-Event-ID: the browser adds it later.
  const headers = await answer.request().allHeaders();
  return { status: answer.status(), after: headers["last-event-id"] };
}
