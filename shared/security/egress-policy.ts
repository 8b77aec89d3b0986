import ipaddr from "ipaddr.js";

type Address = ReturnType<typeof ipaddr.process>;

/** Private services at addresses that look public: Azure's metadata and DNS service. */
const PRIVATE_DESPITE_RANGE = new Set(["168.63.129.16"]);

/**
 * Ports of other protocols, whose servers could be made to read a request as theirs (mail, IRC …): the list of
 * fetch.spec.whatwg.org, "port blocking".
 */
const BAD_PORTS = new Set([
  0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
  109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
  526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
  3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
]);

/** Whether no request may go to this `port` of a URL (empty: the protocol's default), even to an allowed host. */
export function isBadPort(port: string): boolean {
  return port !== "" && BAD_PORTS.has(Number(port));
}

/** The addresses of `localhost`. */
const LOOPBACK = ["127.0.0.1", "::1"];

const ENTRY_RULE =
  "must be a host name (tools.internal), an address (10.1.2.3) or a range (10.0.0.0/8): no scheme, no port, no *";

/** The addresses that requests may go to: public ones, and those that an operator allows. */
export type EgressPolicy = {
  /** Whether this address may be connected to. */
  allows(address: string): boolean;
  /**
   * Whether the operator has listed this host of a URL, an address or a name. False for a public host that is not in the list.
   * `localhost` is listed where 127.0.0.1 or ::1 is: no other machine has this name (RFC 6761).
   */
  lists(host: string): boolean;
  /** Whether this host name (not an address) is allowed, whatever address it resolves to. */
  allowsName(name: string): boolean;
  /**
   * Whether this host of a URL is an address that may not be connected to. False for a name: its addresses are checked
   * when it is resolved.
   */
  refuses(host: string): boolean;
};

/**
 * The rule against requests into the deployment's own network. It refuses private, loopback, link-local (cloud
 * metadata), carrier-grade NAT, multicast, reserved and unspecified ranges, in IPv4, in IPv6 and where one is
 * embedded in the other.
 *
 * @param allow host names (exact), addresses and CIDR ranges that are allowed nevertheless, separated by commas.
 * IPv6 may be in brackets, as in a URL.
 * @throws Error for an entry that is none of these and so would never match. It names the entry's index, not its
 * text: by mistake that may be a URL with a password.
 */
export function egressPolicyOf(allow: string): EgressPolicy {
  const ranges: [Address, number][] = [];
  const names = new Set<string>();
  for (const [index, text] of allow.split(",").entries()) {
    const entry = text
      .trim()
      .toLowerCase()
      .replace(/^\[([^\]]*)\](?=\/|$)/, "$1");
    if (entry === "") continue;
    const range = rangeOf(entry);
    if (range) ranges.push(range);
    else if (isHostName(entry)) names.add(entry);
    else throw new Error(`entry ${index + 1} ${ENTRY_RULE}`);
  }
  const isListed = (address: Address): boolean =>
    ranges.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits));
  const allows = (text: string): boolean => {
    const address = ipaddr.process(text);
    return isListed(address) || isPublic(address);
  };
  return {
    allows,
    lists(host) {
      const text = host.replace(/^\[|\]$/g, "").toLowerCase();
      const addresses = text === "localhost" ? LOOPBACK : [text].filter(isAddress);
      return names.has(text) || addresses.some((address) => isListed(ipaddr.process(address)));
    },
    allowsName: (name) => names.has(name.toLowerCase()),
    refuses(host) {
      const address = host.replace(/^\[|\]$/g, "");
      return isAddress(address) && !allows(address);
    },
  };
}

/** All public IPv6 addresses are in 2000::/3. Outside it are unusual forms that embed an IPv4 address. */
const GLOBAL_IPV6 = ipaddr.parseCIDR("2000::/3");

function isPublic(address: Address): boolean {
  if (address.range() !== "unicast" || PRIVATE_DESPITE_RANGE.has(address.toString())) return false;
  const [base, bits] = GLOBAL_IPV6;
  return address.kind() === "ipv4" || address.match(base, bits);
}

/** Only four decimal parts count as IPv4: URL parsers convert every other form to it. */
function isAddress(text: string): boolean {
  return text.includes(":") ? ipaddr.IPv6.isValid(text) : ipaddr.IPv4.isValidFourPartDecimal(text);
}

/** The range of an entry: a CIDR range, or an address as a range of one; null when it is neither. */
function rangeOf(entry: string): [Address, number] | null {
  if (ipaddr.isValidCIDR(entry) && isAddress(entry.split("/", 1)[0] ?? "")) return ipaddr.parseCIDR(entry);
  if (!isAddress(entry)) return null;
  const address = ipaddr.process(entry);
  return [address, address.kind() === "ipv4" ? 32 : 128];
}

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const HOST_NAME = new RegExp(`^(?:${LABEL}\\.)*${LABEL}\\.?$`);

/**
 * Whether this can be the host name of a parsed URL. URL parsers take a name whose last part is a number for an
 * address, or refuse it.
 */
function isHostName(text: string): boolean {
  return text.length <= 253 && HOST_NAME.test(text) && !/(?:^|\.)\d+\.?$/.test(text);
}
