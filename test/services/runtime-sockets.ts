/** The module `cloudflare:sockets` for code of the edge that a test executes in Node: as much of it as the edge uses. */
import { connect as open } from "node:net";
import { once } from "node:events";
import { Duplex } from "node:stream";

/** @param address `host:port` */
export function connect(address: string) {
  const { hostname, port } = new URL(`tcp://${address}`);
  const socket = open(Number(port), hostname);
  const { readable, writable } = Duplex.toWeb(socket, { readableType: "bytes" });
  const opened = once(socket, "connect");
  const closed = once(socket, "close");
  opened.catch(() => {});
  return {
    readable,
    writable,
    opened,
    closed,
    async close() {
      socket.destroy();
      await closed;
    },
  };
}
