import { createParser } from "eventsource-parser";
import { until } from "./waiting.ts";

/** `text`: the data as it was sent, to compare it byte for byte. */
export type Frame = { id: string; data: Record<string, unknown>; text: string };

/** A client of a stream of server-sent events. It reads all the time, and parses as the specification says. */
export class Viewer {
  readonly status: number;
  readonly frames: Frame[] = [];
  ended = false;
  /** Everything received, as text: also comments and ids without data. */
  text = "";
  readonly #reader: ReadableStreamDefaultReader<string> | undefined;

  constructor(response: Response) {
    this.status = response.status;
    this.#reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    void this.#read();
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<Viewer> {
    return new Viewer(await fetch(url, { headers }));
  }

  /** Waits until `condition` holds. @throws Error with the end of the stream when it does not hold in time */
  async until(condition: (viewer: Viewer) => boolean, timeoutMs = 120_000): Promise<void> {
    const received = () => `; it received … ${JSON.stringify(this.text.slice(-500))}`;
    await until("the viewer's condition", () => condition(this), timeoutMs, received);
  }

  /** Waits until the stream has ended. */
  end(timeoutMs?: number): Promise<void> {
    return this.until((viewer) => viewer.ended, timeoutMs);
  }

  leave(): void {
    void this.#reader?.cancel().catch(() => {});
  }

  async #read(): Promise<void> {
    const parser = createParser({
      onEvent: ({ id = "", data }) => this.frames.push({ id, data: JSON.parse(data), text: data }),
    });
    try {
      for (let read = await this.#reader?.read(); read && !read.done; read = await this.#reader?.read()) {
        this.text += read.value;
        parser.feed(read.value);
      }
    } catch {
      // The connection was cut off.
    } finally {
      this.ended = true;
    }
  }
}
