// Fails when code or a document cites a place that does not exist: a document, a numbered place in it ("docs/protocol.md 5.2"),
// a relative link, or a file of this repository. Runs as part of `npm run lint`.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file !== "" && existsSync(file));
const isTracked = (path) =>
  tracked.some((file) => file === path || file.startsWith(`${path.replace(/\/$/, "")}/`));

const numbersOf = new Map();
/** The numbers of a document's headings and numbered items: `## 5.`, `### 5.2 Claim`, `- **2.1 …**`, `8.3 …`, `| 7.1 |`. */
function numbers(document) {
  if (!numbersOf.has(document)) {
    const found = readFileSync(document, "utf8").matchAll(/^[#\-|*\s>]*\**(\d+(?:\.\d+)?)[.)\s|*]/gm);
    numbersOf.set(document, new Set(Array.from(found, ([, number]) => number)));
  }
  return numbersOf.get(document);
}

const wrong = [];
for (const file of tracked.filter(
  (name) => /\.(ts|mjs|lua|sql|md|toml|json)$/.test(name) && name !== "package-lock.json",
)) {
  const text = readFileSync(file, "utf8");
  const report = (index, message) =>
    wrong.push(`${file}:${text.slice(0, index).split("\n").length}: ${message}`);
  if (file === "docs/check-citations.mjs") continue;

  for (const { index, 0: cited } of text.matchAll(
    /\b(?:PROTOCOL|DESIGN)\.md|\.\.\/shared\/(?:API|STYLE)\.md/g,
  )) {
    report(index, `${cited} is not in this repository: cite docs/`);
  }
  // "docs/protocol.md 5.2, 7.1 and 14.4": each number after the name, also when the line breaks between them.
  for (const { index, 1: document, 2: rest } of text.matchAll(
    /\b(docs\/[a-z-]+\.md)((?:[\s*,–-]|\band\b|--)*\d+(?:\.\d+)?(?:(?:,| and| to)\s*\d+\.\d+)*)?/g,
  )) {
    if (!existsSync(document)) report(index, `there is no ${document}`);
    else {
      for (const [number] of (rest ?? "").matchAll(/\d+(?:\.\d+)?/g)) {
        if (!numbers(document).has(number)) report(index, `${document} has no ${number}`);
      }
    }
  }
  if (!file.endsWith(".md")) continue;
  for (const { index, 1: target } of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
    if (!/^[a-z]+:/.test(target) && !isTracked(normalize(join(dirname(file), target)))) {
      report(index, `the link ${target} leads nowhere`);
    }
  }
  for (const { index, 1: path } of text.matchAll(
    /`((?:edge|worker-node|shared|local|test|migrations|docs)\/[\w./-]*)`/g,
  )) {
    if (!isTracked(path)) report(index, `there is no ${path}`);
  }
}

for (const line of wrong) console.error(line);
if (wrong.length > 0) {
  console.error(`${wrong.length} citations lead nowhere.`);
  process.exit(1);
}
