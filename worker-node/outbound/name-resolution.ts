import type { LookupAddress } from "node:dns";
import { Resolver, lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";

/** Who is asked for the addresses of a name: one for each question, as only all that one was asked can be cancelled. */
export type NewResolver = () => Pick<Resolver, "resolve4" | "resolve6" | "cancel">;

export const newResolver: NewResolver = () => new Resolver({ timeout: 2_000, tries: 1 });

/** The operating system's own way: also search domains, and what else its configuration knows. */
export function addressesBySystem(name: string): Promise<LookupAddress[]> {
  return lookup(name, { all: true });
}

/**
 * The addresses of a name that a stranger may have written: of the hosts file, or else of DNS.
 *
 * Not by the operating system (`getaddrinfo`): that takes one of four threads for as long as a name server is silent,
 * and four names of one tenant would keep everybody's, and the models', from being resolved. It is no second choice
 * either: a server that says "no such name" to us could be silent to the system. So search domains are not gone
 * through for a name with a dot.
 */
export async function addressesByDns(
  name: string,
  signal: AbortSignal,
  resolverOf: NewResolver,
): Promise<LookupAddress[]> {
  const written = await addressesInFile(name);
  if (written.length > 0) return written;
  signal.throwIfAborted();
  const resolver = resolverOf();
  const cancel = (): void => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    const [ipv4, ipv6] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const found = [...addressesOf(ipv4, 4), ...addressesOf(ipv6, 6)];
    if (found.length === 0 && ipv4.status === "rejected") throw ipv4.reason;
    return found;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

function addressesOf(answer: PromiseSettledResult<string[]>, family: 4 | 6): LookupAddress[] {
  return answer.status === "fulfilled" ? answer.value.map((address) => ({ address, family })) : [];
}

/** Containers are given names with dots there, as `host.docker.internal`. */
async function addressesInFile(name: string): Promise<LookupAddress[]> {
  const text = await readFile("/etc/hosts", "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().toLowerCase().split(/\s+/);
    return names.includes(name.toLowerCase()) ? [{ address, family: address.includes(":") ? 6 : 4 }] : [];
  });
}
