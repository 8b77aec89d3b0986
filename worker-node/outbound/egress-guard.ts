import type { LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import { isBadPort, egressPolicyOf } from "../../shared/security/egress-policy.ts";
import { messageOf } from "../../shared/log.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { newResolver, resolveByDns, resolveBySystem } from "./name-resolution.ts";
import type { NewResolver } from "./name-resolution.ts";

/**
 * The guard of all outbound requests: it allows public addresses, and the hosts and addresses of EGRESS_ALLOW.
 *
 * A request needs both methods. `check` judges the port and an address that is written in the URL: Node never looks
 * such an address up. `lookup` is the resolver that `node:http` calls when it connects, so the guard judges the address
 * that is connected to, and a name whose address changes after a check gets no further. `signal` cancels its queries.
 * Both fail with the TerminalError `egress_blocked`.
 */
export type Egress = {
  /** The list of EGRESS_ALLOW, to make the same guard in another process. */
  readonly allow: string;
  check(url: URL): void;
  /** As `check`, for a protocol other than HTTP: it judges no port. */
  checkHost(hostname: string): void;
  lookup(signal: AbortSignal): LookupFunction;
};

/**
 * Makes a guard with the rules of `shared/security/egress-policy.ts`.
 * @param allow the list of EGRESS_ALLOW
 * @throws Error for an entry of the list that can match nothing
 */
export function createEgress(allow: string, createResolver: NewResolver = newResolver): Egress {
  const { allows, allowsName, refuses } = egressPolicyOf(allow);
  const resolve = (name: string, signal: AbortSignal): Promise<LookupAddress[]> =>
    // Names in EGRESS_ALLOW and names without a dot are resolved by the operating system. All other names may be a
    // tenant's.
    allowsName(name) || !name.includes(".")
      ? resolveBySystem(name)
      : resolveByDns(name, signal, createResolver);
  const resolveAllowed = async (
    name: string,
    signal: AbortSignal,
  ): Promise<[LookupAddress, ...LookupAddress[]]> => {
    const addresses = await resolve(name, signal);
    const [first, ...rest] = allowsName(name)
      ? addresses
      : addresses.filter(({ address }) => allows(address));
    if (first === undefined) throw blocked(name);
    return [first, ...rest];
  };
  const checkHost = (hostname: string): void => {
    if (refuses(hostname)) throw blocked(hostname);
  };
  return {
    allow,
    checkHost,
    check({ hostname, port }) {
      if (isBadPort(port)) {
        throw new TerminalError("egress_blocked", `port ${port} is for another protocol than HTTP`);
      }
      checkHost(hostname);
    },
    lookup: (signal) => (hostname, options, callback) => {
      resolveAllowed(hostname, signal).then(
        (allowed) =>
          options.all ? callback(null, allowed) : callback(null, allowed[0].address, allowed[0].family),
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
