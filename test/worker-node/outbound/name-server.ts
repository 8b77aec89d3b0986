/** A fake name server on this machine: it answers A queries from a table, or answers nothing at all. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { Resolver } from "node:dns/promises";
import type { NewResolver } from "../../../worker-node/outbound/name-resolution.ts";

const A = 1;
const HEADER_BYTES = 12;

export type NameServer = { resolver: NewResolver; queried: string[]; close(): void };

/** `addresses`: name → IPv4 address; other names do not exist. `"silence"`: no query is answered. */
export async function startNameServer(addresses: Record<string, string> | "silence"): Promise<NameServer> {
  const queried: string[] = [];
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    const { name, type, end } = questionOf(query);
    queried.push(name);
    if (addresses === "silence") return;
    const address = addresses[name];
    const answers = address !== undefined && type === A ? [recordOf(address)] : [];
    const header = Buffer.alloc(HEADER_BYTES);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(address === undefined ? 0x8183 : 0x8180, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(answers.length, 6);
    socket.send(
      Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...answers]),
      from.port,
      from.address,
    );
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return {
    resolver: () => {
      const resolver = new Resolver({ timeout: 2_000, tries: 1 });
      resolver.setServers([`127.0.0.1:${socket.address().port}`]);
      return resolver;
    },
    queried,
    close: () => socket.close(),
  };
}

function questionOf(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  // c-ares randomises upper and lower case, as a protection against forged answers.
  return { name: labels.join(".").toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

/** An A record of the queried name, with a time to live of 0. */
function recordOf(address: string): Buffer {
  const head = [0xc0, HEADER_BYTES, 0, A, 0, 1, 0, 0, 0, 0, 0, 4];
  return Buffer.from([...head, ...address.split(".").map(Number)]);
}
