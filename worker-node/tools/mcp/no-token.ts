/** There is no access token for an MCP server. */
export class NoToken extends Error {
  override readonly name = "NoToken";
  /** The status with which its authorization server failed; 0: it did not. */
  readonly status: number;

  /** @param options `cause`: the error of a connection to the authorization server */
  constructor(message: string, { status = 0, cause }: { status?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.status = status;
  }
}
