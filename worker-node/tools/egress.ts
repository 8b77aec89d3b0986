import { lookup as resolve } from "node:dns";
import { isIP } from "node:net";
import type { LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import { TerminalError } from "../engine/errors.ts";

type Address = ReturnType<typeof ipaddr.process>;

/** Azure's metadata and DNS service has an address that looks public. */
const NOT_AS_PUBLIC_AS_THEY_LOOK = new Set(["168.63.129.16"]);

/**
 * What may be reached from here: public addresses, and what an operator allows. `lookup` is for `node:http`: it is
 * asked when a connection is made, so a name that changes its address after a check is caught. Addresses that are
 * written out are never looked up: `check` them before.
 */
export type Egress = { check(hostname: string): void; lookup: LookupFunction };

/**
 * A guard against requests into the network around us: private, loopback, link-local (cloud metadata), carrier-grade
 * NAT, multicast, reserved and unspecified ranges, in IPv4, IPv6 and the forms in which one holds the other.
 * `allow`: host names (exact), addresses and CIDR ranges that are let through all the same. A wrong entry throws.
 */
export function createEgress(allow: readonly string[]): Egress {
  const entries = allow.map((entry) => entry.trim().toLowerCase()).filter((entry) => entry !== "");
  const ranges = entries.filter(looksNumeric).map(rangeOf);
  const names = new Set(entries.filter((entry) => !looksNumeric(entry)));

  const allowed = (text: string): boolean => {
    const address = ipaddr.process(text);
    const listed = ranges.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits));
    return listed || isPublic(address);
  };

  return {
    check(hostname) {
      const address = hostname.replace(/^\[|\]$/g, "");
      if (isIP(address) !== 0 && !allowed(address)) throw blocked(hostname);
    },
    lookup(hostname, options, callback) {
      resolve(hostname, { ...options, all: true }, (error, addresses) => {
        if (error) return callback(error, "");
        const open = names.has(hostname.toLowerCase())
          ? addresses
          : addresses.filter(({ address }) => allowed(address));
        const [first] = open;
        if (first === undefined) callback(blocked(hostname), "");
        else if (options.all) callback(null, open);
        else callback(null, first.address, first.family);
      });
    },
  };
}

/** All that is public in IPv6 lies in 2000::/3; outside it are forms that hold an IPv4 address in other ways than the usual. */
const GLOBAL_IPV6 = ipaddr.parseCIDR("2000::/3");

function isPublic(address: Address): boolean {
  if (address.range() !== "unicast" || NOT_AS_PUBLIC_AS_THEY_LOOK.has(address.toString())) return false;
  const [base, bits] = GLOBAL_IPV6;
  return address.kind() === "ipv4" || address.match(base, bits);
}

function blocked(hostname: string): TerminalError {
  return new TerminalError(
    "egress_blocked",
    `${hostname} is not a public address, and EGRESS_ALLOW does not name it`,
  );
}

function looksNumeric(entry: string): boolean {
  return isIP(entry.split("/", 1)[0] ?? "") !== 0;
}

function rangeOf(entry: string): [Address, number] {
  if (entry.includes("/")) return ipaddr.parseCIDR(entry);
  const address = ipaddr.process(entry);
  return [address, address.kind() === "ipv4" ? 32 : 128];
}
