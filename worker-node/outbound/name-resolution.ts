import type { LookupAddress } from "node:dns";
import { Resolver, lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";

/** Makes the DNS client for one name. Each name needs its own, because `cancel` ends all queries of a client. */
export type NewResolver = () => Pick<Resolver, "resolve4" | "resolve6" | "cancel">;

/** The DNS client in production: one try, with 2 s for each name server. */
export const newResolver: NewResolver = () => new Resolver({ timeout: 2_000, tries: 1 });

/** Resolves a name as the operating system does, with its search domains and the rest of its configuration. */
export function resolveBySystem(name: string): Promise<LookupAddress[]> {
  return lookup(name, { all: true });
}

/**
 * Resolves a name that a tenant may have written: from the hosts file, or else by DNS.
 *
 * It does not use the operating system's resolver (`getaddrinfo`). Each such call occupies one of four threads while a
 * name server is silent, so four names of one tenant would stop name resolution for all tenants and for the models. The
 * system's resolver is no fallback either: a name server that answers "no such name" here could be silent there. The
 * consequence: search domains are not applied to a name with a dot.
 *
 * @throws the error of the IPv4 query when the name has no address
 */
export async function resolveByDns(
  name: string,
  signal: AbortSignal,
  createResolver: NewResolver,
): Promise<LookupAddress[]> {
  const fromHostsFile = await readHostsFile(name);
  if (fromHostsFile.length > 0) return fromHostsFile;
  signal.throwIfAborted();
  const resolver = createResolver();
  const cancel = (): void => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const [ipv4, ipv6] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const addresses = [...addressesOf(ipv4, 4), ...addressesOf(ipv6, 6)];
    if (addresses.length === 0 && ipv4.status === "rejected") throw ipv4.reason;
    return addresses;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

function addressesOf(result: PromiseSettledResult<string[]>, family: 4 | 6): LookupAddress[] {
  return result.status === "fulfilled" ? result.value.map((address) => ({ address, family })) : [];
}

/** Container runtimes write names with dots into the hosts file, such as `host.docker.internal`. */
async function readHostsFile(name: string): Promise<LookupAddress[]> {
  const text = await readFile("/etc/hosts", "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().toLowerCase().split(/\s+/);
    return names.includes(name.toLowerCase()) ? [{ address, family: address.includes(":") ? 6 : 4 }] : [];
  });
}
