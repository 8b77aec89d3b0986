import { auth, ClientCredentialsProvider, extractWWWAuthenticateParams } from "@modelcontextprotocol/client";
import type { AuthProvider } from "@modelcontextprotocol/client";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";

/** A server's 401, and the means to get another token. */
type UnauthorizedContext = Parameters<NonNullable<AuthProvider["onUnauthorized"]>>[0];

/** A token is not used in the last part of its life, because the request may take as long: 30 s, or half of a short life. */
const MARGIN_MS = 30_000;
/** A token without `expires_in`, or with one that says nothing, is used for this long, unless the server refuses it before. */
const UNKNOWN_LIFE_MS = 30 * 60_000;

/**
 * The access tokens of one version of a server that is behind OAuth (`client_credentials`), in the memory of this worker alone. All
 * connections to the server share a token until shortly before its end, and wait for one request for the next. A call whose token is
 * refused is repeated once with another one.
 */
export class OAuthTokens {
  readonly #provider: ClientCredentialsProvider;
  #token: { value: string; usedUntilMs: number } | null = null;
  #pending: Promise<void> | null = null;

  constructor({ client_id, client_secret, issuer, scope }: NonNullable<McpServer["oauth"]>) {
    this.#provider = new ClientCredentialsProvider({
      clientId: client_id,
      clientSecret: client_secret,
      expectedIssuer: issuer,
      ...(scope !== "" && { scope }),
    });
  }

  /** Gives one connection its tokens, and renews a token that the server refuses. */
  forConnection(): AuthProvider {
    let sent: string | undefined;
    return {
      token: async () => (sent = this.#current()),
      onUnauthorized: async (refusal) => {
        // Another connection may have got a new token meanwhile.
        if (this.#current() === sent) await this.#renew(sent, refusal);
      },
    };
  }

  #current(): string | undefined {
    if (this.#token === null || this.#token.usedUntilMs <= performance.now()) return undefined;
    return this.#token.value;
  }

  /** A request for a token ends with the call that makes it; then a call that waited for it makes its own. */
  async #renew(refused: string | undefined, refusal: UnauthorizedContext): Promise<void> {
    await this.#pending?.catch(() => {});
    if (this.#current() !== refused) return;
    this.#pending ??= this.#request(refusal).finally(() => (this.#pending = null));
    await this.#pending;
  }

  async #request({ response, serverUrl, fetchFn }: UnauthorizedContext): Promise<void> {
    const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(response);
    await auth(this.#provider, {
      serverUrl,
      fetchFn,
      ...(resourceMetadataUrl !== undefined && { resourceMetadataUrl }),
      ...(scope !== undefined && { scope }),
    });
    const tokens = this.#provider.tokens();
    if (tokens === undefined) return;
    const { expires_in: lifeSeconds = 0, access_token: value } = tokens;
    // Null and 0 are written for a token that does not end.
    const lifeMs = lifeSeconds > 0 ? lifeSeconds * 1_000 : UNKNOWN_LIFE_MS;
    this.#token = { value, usedUntilMs: performance.now() + lifeMs - Math.min(MARGIN_MS, lifeMs / 2) };
  }
}
