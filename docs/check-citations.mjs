// Fails when code or a document cites a place that does not exist: a document, a numbered place in it ("docs/protocol.md 5.2"),
// a relative link, or a file of this repository. Part of `npm run lint`.
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
/** The numbers of a document's headings and numbered rules: `## 5. …`, `### 5.2 …`, `- **2.1 …**`. */
function numbers(document) {
  if (!numbersOf.has(document)) {
    const found = readFileSync(document, "utf8").matchAll(/^(?:#+ |- \*\*)(\d+(?:\.\d+)*)[.\s*]/gm);
    numbersOf.set(document, new Set(Array.from(found, ([, number]) => number)));
  }
  return numbersOf.get(document);
}

/** What may stand before a cited number, also a line break inside a comment: ", ", " and ", ") ", " section ", "\n * ". */
const GAP = String.raw`(?:[^\S\n]|\n(?!\s*\n)|[*/#(),–\]\x60-]|\b(?:and|or|to|sections?)\b)+`;
/** The rest of a citation: every number that follows, as in " 5.2, 7.1 and 14.4". */
const NUMBERS = String.raw`((?:${GAP}\d+(?:\.\d+)*(?!\w))*)`;
const CITED = new RegExp(String.raw`(?:\b(docs/[a-z-]+\.md)|(?<![\w./-])([a-z-]+\.md))${NUMBERS}`, "g");
/** In the protocol and the glossary "section 7" is a section of the protocol. */
const SECTION = new RegExp(String.raw`\bsections?${NUMBERS}`, "g");
/** The protocol cites its own rules without its name: "(5.4)", "the rest is 7.1". Versions and durations are no rules. */
const OWN_NUMBER = /(?<![\w.]|(?:Redis|PgBouncer|<|≥) )\d+\.\d+(?![\w.]*\d| ms| s\b)/g;
const PROTOCOL = "docs/protocol.md";

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
  const checkNumbers = (index, document, rest) => {
    for (const [number] of rest.matchAll(/\d+(?:\.\d+)*/g)) {
      if (!numbers(document).has(number)) report(index, `${document} has no ${number}`);
    }
  };
  // A name without "docs/" cites a document too: documents name each other so.
  for (const { index, 1: path, 2: name, 3: rest } of text.matchAll(CITED)) {
    const document = path ?? `docs/${name}`;
    if (existsSync(document)) checkNumbers(index, document, rest);
    else if (path !== undefined) report(index, `there is no ${document}`);
  }
  if (file === PROTOCOL || file === "docs/glossary.md") {
    for (const { index, 1: rest } of text.matchAll(SECTION)) checkNumbers(index, PROTOCOL, rest);
  }
  if (file === PROTOCOL) {
    for (const { index, 0: number } of text.matchAll(OWN_NUMBER)) checkNumbers(index, PROTOCOL, number);
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
