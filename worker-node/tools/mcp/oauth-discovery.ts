import { checkResourceAllowed, extractWWWAuthenticateParams } from "@modelcontextprotocol/client";
import type { AuthProvider } from "@modelcontextprotocol/client";
import { z } from "zod";
import { NoToken } from "./no-token.ts";

/** A server's 401, and the means to get another token. */
export type UnauthorizedContext = Parameters<NonNullable<AuthProvider["onUnauthorized"]>>[0];

/** What a request for a token needs: where it goes, how the client may identify itself, and what the MCP server says of its tokens. */
export type TokenEndpoint = {
  url: URL;
  takesBasic: boolean;
  /** The name of the MCP server for the authorization server (RFC 8707); absent: it has not said. */
  resource?: string | undefined;
  /** The scopes that the MCP server asks for; empty: none. */
  scope: string;
};

const texts = z.array(z.string()).optional().catch(undefined);
/** Of RFC 9728. What this client does not read may be missing, null or odd. */
const ResourceMetadata = z.looseObject({
  resource: z.url(),
  authorization_servers: texts,
  scopes_supported: texts,
});
/** Of RFC 8414 and OpenID Connect Discovery. Servers of `client_credentials` alone leave out what these demand for other grants. */
const IssuerMetadata = z.looseObject({
  issuer: z.string(),
  token_endpoint: z.url({ protocol: /^https?$/ }),
  token_endpoint_auth_methods_supported: texts,
});

/**
 * Finds where the issuer of a server's definition gives tokens. The metadata of the MCP server (RFC 9728) is read where there is some: it
 * never leads to another issuer, because the client's secret is for this one alone.
 * @throws NoToken when the MCP server accepts other issuers only, or the metadata cannot be right; the error of a connection
 */
export async function discoverTokenEndpoint(
  issuer: string,
  { response, serverUrl, fetchFn }: UnauthorizedContext,
): Promise<TokenEndpoint> {
  const { resourceMetadataUrl, scope } = extractWWWAuthenticateParams(response);
  const ofServer = wellKnown("oauth-protected-resource", serverUrl);
  const atRoot = wellKnown("oauth-protected-resource", new URL("/", serverUrl));
  const resourceUrls = [
    ...(resourceMetadataUrl === undefined ? [] : [resourceMetadataUrl]),
    ofServer,
    atRoot,
  ];
  const resource = await firstDocument(resourceUrls, ResourceMetadata, fetchFn).catch(() => null);
  if (resource !== null) requireFit(resource, issuer, serverUrl);
  const of = new URL(issuer);
  const issuerUrls = [
    wellKnown("oauth-authorization-server", of),
    wellKnown("openid-configuration", of),
    new URL(`${pathOf(of)}/.well-known/openid-configuration`, of),
  ];
  const found = await firstDocument(issuerUrls, IssuerMetadata, fetchFn);
  if (found !== null && withoutSlash(found.issuer) !== withoutSlash(issuer)) {
    throw new NoToken(`the metadata of ${issuer} is of another issuer, ${found.issuer}`);
  }
  // Protocol 2025-03-26 has this place for issuers without metadata.
  const url = new URL(found?.token_endpoint ?? new URL("/token", of));
  if (url.protocol !== "https:" && of.protocol === "https:")
    throw new NoToken(`its endpoint ${url.href} has no https, and would get the client's secret`);
  const methods = found?.token_endpoint_auth_methods_supported ?? [];
  return {
    url,
    takesBasic: methods.length === 0 || methods.includes("client_secret_basic"),
    resource: resource?.resource,
    scope: scope ?? resource?.scopes_supported?.join(" ") ?? "",
  };
}

/** A token for another resource would be for another server, which this one may want to act at. */
function requireFit(
  { resource, authorization_servers: servers = [] }: z.infer<typeof ResourceMetadata>,
  issuer: string,
  serverUrl: URL,
): void {
  if (!checkResourceAllowed({ requestedResource: serverUrl, configuredResource: resource }))
    throw new NoToken(
      `the server says that it is ${resource}, and its definition has the url ${serverUrl.href}`,
    );
  const { origin } = new URL(issuer);
  if (servers.length > 0 && !servers.some((server) => URL.parse(server)?.origin === origin)) {
    throw new NoToken(
      `the server accepts tokens of ${servers.join(", ")}, and its definition has the issuer ${issuer}`,
    );
  }
}

/**
 * The first document of the addresses that can be read. Some servers answer unknown paths with a page, so an answer that is no such document counts as none.
 * @returns null: there is none
 */
async function firstDocument<Document>(
  urls: readonly URL[],
  schema: z.ZodType<Document>,
  fetchFn: UnauthorizedContext["fetchFn"],
): Promise<Document | null> {
  let failed = 0;
  const tried = new Set<string>();
  for (const url of urls) {
    if (tried.has(url.href)) continue;
    tried.add(url.href);
    const response = await reach(url, fetchFn(url, { headers: { accept: "application/json" } }));
    const json: unknown = await response.json().catch(() => null);
    const document = schema.safeParse(json);
    if (response.ok && document.success) return document.data;
    if (response.status >= 500 || response.status === 429) failed = response.status;
  }
  if (failed > 0) throw new NoToken("it has no metadata", { status: failed });
  return null;
}

/** The response of an authorization server. @throws NoToken when there is none */
export async function reach(url: URL, response: Promise<Response>): Promise<Response> {
  return response.catch((cause: unknown) => {
    throw new NoToken(`${url.host} cannot be reached`, { cause });
  });
}

/** The address of a well-known document, before the path of what it is about (RFC 8414, 3.1). */
function wellKnown(name: string, of: URL): URL {
  return new URL(`/.well-known/${name}${pathOf(of)}`, of);
}

function pathOf({ pathname }: URL): string {
  return withoutSlash(pathname);
}

function withoutSlash(text: string): string {
  return text.replace(/\/$/, "");
}
