import type { LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import { isBadPort, reachable } from "../../shared/egress.ts";
import { messageOf } from "../../shared/log.ts";
import { TerminalError } from "../engine/errors.ts";
import { addressesByDns, addressesBySystem, newResolver } from "./name-resolution.ts";
import type { NewResolver } from "./name-resolution.ts";

/**
 * What may be reached from here: public addresses, and what an operator allows. `lookup` makes what `node:http` asks
 * when a connection is made, so a name that changes its address after a check is caught; `signal` ends its questions.
 * Addresses that are written out are never looked up: `check` them before.
 */
export type Egress = { check(url: URL): void; lookup(signal: AbortSignal): LookupFunction };

/** A guard over `shared/egress.ts`. `allow`: what EGRESS_ALLOW lists. A wrong entry throws. */
export function createEgress(allow: string, resolverOf: NewResolver = newResolver): Egress {
  const { allows, allowsName, refuses } = reachable(allow);
  const resolve = (name: string, signal: AbortSignal): Promise<LookupAddress[]> =>
    // What an operator has named, or a machine nearby, is resolved as operators expect; strangers name hosts with dots.
    allowsName(name) || !name.includes(".")
      ? addressesBySystem(name)
      : addressesByDns(name, signal, resolverOf);
  const openTo = async (name: string, signal: AbortSignal): Promise<[LookupAddress, ...LookupAddress[]]> => {
    const addresses = await resolve(name, signal);
    const [first, ...others] = allowsName(name)
      ? addresses
      : addresses.filter(({ address }) => allows(address));
    if (first === undefined) throw blocked(name);
    return [first, ...others];
  };
  return {
    check({ hostname, port }) {
      if (isBadPort(port)) {
        throw new TerminalError("egress_blocked", `port ${port} is for another protocol than HTTP`);
      }
      if (refuses(hostname)) throw blocked(hostname);
    },
    lookup: (signal) => (hostname, options, callback) => {
      openTo(hostname, signal).then(
        (open) => (options.all ? callback(null, open) : callback(null, open[0].address, open[0].family)),
        (error: unknown) => callback(error instanceof Error ? error : new Error(messageOf(error)), ""),
      );
    },
  };
}

function blocked(hostname: string): TerminalError {
  return new TerminalError(
    "egress_blocked",
    `${hostname} is not a public address, and EGRESS_ALLOW does not name it`,
  );
}
