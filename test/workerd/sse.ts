/** A viewer: reads a stream of server-sent events as it comes. */

export type Frame = { id: string; data: Record<string, unknown>; text: string };

export class Viewer {
  readonly status: number;
  readonly frames: Frame[] = [];
  ended = false;
  /** All bytes so far, as text. */
  text = "";
  readonly #abort: AbortController;
  #wake: () => void = () => {};

  private constructor(response: Response, abort: AbortController) {
    this.status = response.status;
    this.#abort = abort;
    void this.#read(response).catch(() => {});
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<Viewer> {
    const abort = new AbortController();
    return new Viewer(await fetch(url, { headers, signal: abort.signal }), abort);
  }

  /** Waits until `holds`. */
  async until(holds: (viewer: Viewer) => boolean, timeoutMs = 30_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!holds(this)) {
      const leftMs = deadline - Date.now();
      if (leftMs <= 0)
        throw new Error(`not so within ${timeoutMs} ms; got ${JSON.stringify(this.text.slice(-500))}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, Math.min(leftMs, 100));
      });
    }
  }

  end(timeoutMs?: number): Promise<void> {
    return this.until((viewer) => viewer.ended, timeoutMs);
  }

  leave(): void {
    this.#abort.abort();
  }

  async #read(response: Response): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    try {
      for await (const bytes of response.body ?? []) {
        const text = decoder.decode(bytes, { stream: true });
        this.text += text;
        const blocks = (rest + text).split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
          const found = /^id: (.*)\ndata: (.*)$/.exec(block);
          if (found?.[1] && found[2])
            this.frames.push({ id: found[1], data: JSON.parse(found[2]), text: found[2] });
        }
        this.#wake();
      }
    } finally {
      this.ended = true;
      this.#wake();
    }
  }
}
