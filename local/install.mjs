// Installs the dependencies of package-lock.json when they are missing or older. It runs before npm's scripts, on Node 20
// and later, and has no dependencies itself.
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = dirname(dirname(fileURLToPath(import.meta.url)));

function modifiedMs(file) {
  return statSync(join(folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

// npm writes the first file at the end of an install.
if (modifiedMs("node_modules/.package-lock.json") < modifiedMs("package-lock.json")) {
  console.log("Installing the dependencies (npm ci) …");
  const npm = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: folder,
    stdio: "inherit",
  });
  if (npm.status !== 0) process.exit(npm.status ?? 1);
}
