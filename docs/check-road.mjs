// Fails when the road of a run in docs/architecture.md names something that is not a file, is longer than a reader can follow, or states
// another number of files than it names. Part of `npm run lint`.
import { existsSync, readFileSync, statSync } from "node:fs";

const MAX_FILES = 40;

const document = readFileSync("docs/architecture.md", "utf8");
const [, road = ""] = /## The road of a run\n([^]*?)(?:\n#+ |$)/.exec(document) ?? [];
const cells = Array.from(road.matchAll(/^\| \d+ \| (.*?) \|/gm), ([, cell]) => cell);
const files = new Set(cells.flatMap((cell) => Array.from(cell.matchAll(/`(.+?)`/g), ([, path]) => path)));
const stated = Number(/: (\d+) files\./.exec(road)?.[1]);

const wrong = Array.from(files)
  .filter((path) => !existsSync(path) || !statSync(path).isFile())
  .map((path) => `${path} is not a file`);
if (files.size > MAX_FILES) wrong.push(`it has ${files.size} files; at most ${MAX_FILES} are allowed`);
if (stated !== files.size) wrong.push(`it states ${stated} files and names ${files.size}`);

for (const line of wrong) console.error(`docs/architecture.md, the road of a run: ${line}`);
if (wrong.length > 0) process.exit(1);
