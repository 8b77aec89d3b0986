/** Free TCP ports on 127.0.0.1. */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";

/** The port `wanted` if it is free, else any free port. 0 stands for any free port. */
export async function freePort(wanted: number): Promise<number> {
  return (await probe(wanted)) ?? (await probe(0)) ?? wanted;
}

/** The first free port of the 100 from `first` on, else any free port. Consecutive ports are easier to remember than random ones. */
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

/** A port for a store: `wanted`, or when that is undefined the port of the last start (in `file`); any other if it is not free. */
export function choosePort(file: string, wanted: number | undefined): Promise<number> {
  return wanted === undefined ? keptPort(file) : freePort(wanted);
}

/** The port in `file`; 0: the file does not exist, or has no port. */
export function lastPort(file: string): number {
  try {
    const port = Number(readFileSync(file, "utf8"));
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : 0;
  } catch {
    return 0;
  }
}

/** The port if it is free (for 0: any free port), else null. */
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
