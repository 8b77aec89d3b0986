/** The HTTP API, for clients that expect responses to be lost. */

/** A response with its parsed body. `status` 0: no response came, and the outcome of the request is unknown. */
export type ApiResponse = { status: number; body: unknown; headers: Headers };

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
    extraHeaders: Record<string, string> = {},
    signal: AbortSignal = AbortSignal.timeout(TIMEOUT_MS),
  ): Promise<ApiResponse> {
    try {
      const answer = await fetch(this.base + path, {
        method,
        headers: {
          authorization: this.authorization,
          ...(body !== undefined && { "content-type": "application/json" }),
          ...extraHeaders,
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

  /** @throws Error for every response that is not a success. */
  async must(method: string, path: string, body: unknown): Promise<void> {
    const { status, body: response } = await this.call(method, path, body);
    if (status < 200 || status > 299)
      throw new Error(`${method} ${path}: ${status} ${JSON.stringify(response)}`);
  }
}
