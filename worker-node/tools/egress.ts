import { lookup as resolve } from "node:dns";
import type { LookupFunction } from "node:net";
import { reachable } from "../../shared/egress.ts";
import { TerminalError } from "../engine/errors.ts";

/**
 * What may be reached from here: public addresses, and what an operator allows. `lookup` is for `node:http`: it is
 * asked when a connection is made, so a name that changes its address after a check is caught. Addresses that are
 * written out are never looked up: `check` them before.
 */
export type Egress = { check(hostname: string): void; lookup: LookupFunction };

/** A guard over `shared/egress.ts`. `allow`: what EGRESS_ALLOW lists. A wrong entry throws. */
export function createEgress(allow: string): Egress {
  const { allows, allowsName, refuses } = reachable(allow);
  return {
    check(hostname) {
      if (refuses(hostname)) throw blocked(hostname);
    },
    lookup(hostname, options, callback) {
      resolve(hostname, { ...options, all: true }, (error, addresses) => {
        if (error) return callback(error, "");
        const open = allowsName(hostname) ? addresses : addresses.filter(({ address }) => allows(address));
        const [first] = open;
        if (first === undefined) callback(blocked(hostname), "");
        else if (options.all) callback(null, open);
        else callback(null, first.address, first.family);
      });
    },
  };
}

function blocked(hostname: string): TerminalError {
  return new TerminalError(
    "egress_blocked",
    `${hostname} is not a public address, and EGRESS_ALLOW does not name it`,
  );
}
