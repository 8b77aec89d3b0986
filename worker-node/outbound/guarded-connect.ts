import net from "node:net";
import type { Egress } from "./egress-guard.ts";
import { ATTEMPT_MS } from "./http-exchange.ts";

/**
 * Opens a TCP connection behind the egress guard, to any port: the caller speaks a protocol other than HTTP.
 * @throws TerminalError `egress_blocked`; the error of the connection, or the reason of `signal`
 */
export async function connectGuarded(
  { host, port }: { host: string; port: number },
  egress: Egress,
  signal: AbortSignal,
): Promise<net.Socket> {
  egress.checkHost(net.isIPv6(host) ? `[${host}]` : host);
  const lookup = egress.lookup(signal);
  const socket = net.connect({ host, port, lookup, signal, autoSelectFamilyAttemptTimeout: ATTEMPT_MS });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return socket;
}
