import type { AuthProvider } from "@modelcontextprotocol/client";
import { z } from "zod";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { NoToken } from "./no-token.ts";
import { discoverTokenEndpoint, reach } from "./oauth-discovery.ts";
import type { UnauthorizedContext } from "./oauth-discovery.ts";

/** A token is not used in the last part of its life, because the request may take as long: 30 s, or half of a short life. */
const MARGIN_MS = 30_000;
/** A token without `expires_in`, or with one that says nothing, is used for this long, unless the server refuses it before. */
const UNKNOWN_LIFE_MS = 30 * 60_000;
/** The most characters of a reason that an authorization server gives. */
const REASON_CHARS = 1_000;

type Issued = { value: string; usedUntilMs: number };

/** RFC 6749, 5.1. Null and 0 are written for a token that does not end. */
const Token = z.looseObject({ access_token: z.string().min(1), expires_in: z.coerce.number().catch(0) });
/** RFC 6749, 5.2. */
const Refusal = z.looseObject({
  error: z.string(),
  error_description: z.string().optional().catch(undefined),
});

/**
 * The access tokens of one version of a server that is behind OAuth (`client_credentials`), in the memory of this worker alone. All
 * connections to the server share a token until shortly before its end, and wait for one request for the next. A call whose token is
 * refused is repeated once with another one.
 */
export class OAuthTokens {
  readonly #client: NonNullable<McpServer["oauth"]>;
  #token: Issued | null = null;
  #pending: Promise<void> | null = null;
  #issued: readonly string[] = [];

  constructor(client: NonNullable<McpServer["oauth"]>) {
    this.#client = client;
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

  /** The token of the calls that are under way, and the one before it. */
  get issued(): readonly string[] {
    return this.#issued;
  }

  #current(): string | undefined {
    if (this.#token === null || this.#token.usedUntilMs <= performance.now()) return undefined;
    return this.#token.value;
  }

  /** A request for a token ends with the call that makes it; then a call that waited for it makes its own. */
  async #renew(refused: string | undefined, refusal: UnauthorizedContext): Promise<void> {
    await this.#pending?.catch(() => {});
    if (this.#current() !== refused) return;
    this.#pending ??= this.#request(refusal)
      .then((token) => {
        this.#token = token;
        this.#issued = [...this.#issued, token.value].slice(-2);
      })
      .finally(() => (this.#pending = null));
    await this.#pending;
  }

  /**
   * The client's scope comes before the one that the server asks for: of a server's scopes a client of this grant may have few.
   * @throws NoToken
   */
  async #request(refusal: UnauthorizedContext): Promise<Issued> {
    const endpoint = await discoverTokenEndpoint(this.#client.issuer, refusal);
    const { client_id, client_secret, scope } = this.#client;
    const fields = new URLSearchParams({ grant_type: "client_credentials" });
    const asked = scope === "" ? endpoint.scope : scope;
    if (asked !== "") fields.set("scope", asked);
    if (endpoint.resource !== undefined) fields.set("resource", endpoint.resource);
    const post = async (authorization?: string): Promise<Response> =>
      reach(
        endpoint.url,
        refusal.fetchFn(endpoint.url, {
          method: "POST",
          headers: {
            accept: "application/json",
            "content-type": "application/x-www-form-urlencoded",
            ...(authorization !== undefined && { authorization }),
          },
          body: fields.toString(),
        }),
      );
    if (!endpoint.takesBasic) {
      fields.set("client_id", client_id);
      fields.set("client_secret", client_secret);
      return tokenIn(await post());
    }
    const encoded = basic(formEncoded(client_id), formEncoded(client_secret));
    const plain = basic(client_id, client_secret);
    let response = await post(encoded);
    // Many servers do not decode what RFC 6749 (2.3.1) encodes. Of most clients both forms are the same.
    if (plain !== encoded && (response.status === 400 || response.status === 401)) {
      await response.body?.cancel();
      response = await post(plain);
    }
    return tokenIn(response);
  }
}

/** @throws NoToken, which never quotes what came in place of a token */
async function tokenIn(response: Response): Promise<Issued> {
  const answer: unknown = await response.json().catch(() => null);
  const token = Token.safeParse(answer);
  if (response.ok && token.success) {
    const { access_token: value, expires_in: lifeSeconds } = token.data;
    const lifeMs = lifeSeconds > 0 ? lifeSeconds * 1_000 : UNKNOWN_LIFE_MS;
    return { value, usedUntilMs: performance.now() + lifeMs - Math.min(MARGIN_MS, lifeMs / 2) };
  }
  const { status } = response;
  const refusal = Refusal.safeParse(answer);
  if (!refusal.success) {
    const what = response.ok ? "its answer has no access_token" : `it answered HTTP ${status}`;
    throw new NoToken(what, { status });
  }
  const { error, error_description: reason } = refusal.data;
  const said = reason === undefined ? error : `${error}: ${reason}`;
  throw new NoToken(said.slice(0, REASON_CHARS), { status });
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

function formEncoded(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replaceAll("%20", "+");
}
