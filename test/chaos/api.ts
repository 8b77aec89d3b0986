/** The HTTP API, as a client calls it that knows that answers get lost. */

/** An answer with its parsed body; `status` 0: none came, and nobody knows what became of the request. */
export type Answer = { status: number; body: unknown; headers: Headers };

const TIMEOUT_MS = 8_000;

export class Api {
  readonly base: string;
  readonly authorization: string;

  constructor(base: string, key: string) {
    this.base = base;
    this.authorization = `Bearer ${key}`;
  }

  async call(
    method: string,
    path: string,
    body?: unknown,
    more: Record<string, string> = {},
    signal: AbortSignal = AbortSignal.timeout(TIMEOUT_MS),
  ): Promise<Answer> {
    try {
      const answer = await fetch(this.base + path, {
        method,
        headers: {
          authorization: this.authorization,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...more,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal,
      });
      const parsed: unknown = await answer.json().catch(() => null);
      return { status: answer.status, body: parsed, headers: answer.headers };
    } catch {
      return { status: 0, body: null, headers: new Headers() };
    }
  }

  /** @throws Error when the answer is anything but a success. */
  async must(method: string, path: string, body: unknown): Promise<void> {
    const { status, body: said } = await this.call(method, path, body);
    if (status < 200 || status > 299) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(said)}`);
  }
}
