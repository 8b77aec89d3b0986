/** Debian packages that `npm run test:host` needs beyond what `npm start` needs: installed when root runs the tests, else named in the error. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** Package → files of which one exists when it is installed. */
const packages = {
  chromium: ["/usr/bin/chromium"],
  pgbouncer: ["/usr/sbin/pgbouncer"],
  // For promtool.
  prometheus: ["/usr/bin/promtool"],
  // The HTTP client of the documentation's Python snippet.
  "python3-httpx": ["/usr/lib/python3/dist-packages/httpx/__init__.py"],
  // Older than the Postgres from npm, which accepts statements that older ones do not.
  postgresql: ["13", "14", "15", "16", "17"].map((major) => `/usr/lib/postgresql/${major}/bin/postgres`),
};

/** @throws Error with the command to type, when a package is missing and cannot be installed. */
export default function installPackages(): void {
  const missing = missingPackages();
  if (missing.length === 0) return;
  if (process.getuid?.() === 0) {
    console.log(`Installing ${missing.join(", ")} (apt-get) …`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    for (const args of [["update"], ["install", "-y", "--no-install-recommends", ...missing]]) {
      spawnSync("apt-get", ["-qq", ...args], {
        env,
        stdio: ["ignore", "ignore", "inherit"],
        timeout: 300_000,
      });
    }
  }
  const stillMissing = missingPackages();
  if (stillMissing.length > 0)
    throw new Error(`These tests need Debian packages: sudo apt-get install -y ${stillMissing.join(" ")}`);
}

function missingPackages(): string[] {
  return Object.entries(packages).flatMap(([name, files]) =>
    files.some((file) => existsSync(file)) ? [] : [name],
  );
}
