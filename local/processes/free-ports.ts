/** Free TCP ports on 127.0.0.1. */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";

/** `wanted` if it is free, else any free port. `wanted` 0: any free port. */
export async function freePort(wanted: number): Promise<number> {
  return (await probe(wanted)) ?? (await probe(0)) ?? wanted;
}

/** The first free port at or after `first`. Consecutive ports are easier to remember than random ones. */
export async function firstFreePort(first: number): Promise<number> {
  for (let port = first; port < first + 100; port++) {
    if ((await probe(port)) !== null) return port;
  }
  return freePort(0);
}

/** The port in `file` (that of the last start) if it is free, else any free port, which is then written to `file`. */
export async function keptPort(file: string): Promise<number> {
  const last = lastPort(file);
  const port = await freePort(last);
  if (port !== last) writeFileSync(file, `${port}\n`);
  return port;
}

/**
 * A port for a store: `wanted` or, when it is not free, any other; when `wanted` is undefined the port of the last
 * start.
 */
export function choosePort(file: string, wanted: number | undefined): Promise<number> {
  return wanted === undefined ? keptPort(file) : freePort(wanted);
}

/** The port in `file`; 0 when there is none. */
export function lastPort(file: string): number {
  try {
    const port = Number(readFileSync(file, "utf8"));
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : 0;
  } catch {
    return 0;
  }
}

function probe(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : null));
    });
  });
}
