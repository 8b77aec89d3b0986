// Completes the static files of the Worker in edge/assets/: the page of the API's reference, so that /docs needs no other server,
// and every document as plain Markdown, with their list in llms.txt. wrangler runs it before each build (wrangler.toml).
import { copyFileSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const project = join(import.meta.dirname, "..");
const assets = join(import.meta.dirname, "assets");
const swagger = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));

for (const file of ["swagger-ui.css", "swagger-ui-bundle.js"]) {
  copyFileSync(join(swagger, file), join(assets, "docs", file));
}

const pages = readdirSync(join(project, "docs")).filter((file) => file.endsWith(".md"));
const documents = [
  { name: "README.md", path: join(project, "README.md") },
  ...pages.map((name) => ({ name, path: join(project, "docs", name) })),
];
// All documents are in one folder there, so the links between the README and the others are shorter.
for (const { name, path } of documents) {
  const text = readFileSync(path, "utf8").replaceAll(/\]\((?:docs\/|\.\.\/(?=README))/g, "](");
  writeFileSync(join(assets, "docs", name), text);
}

const links = documents.map(({ name, path }) => {
  const title = /^# (.+)$/m.exec(readFileSync(path, "utf8"))?.[1] ?? name;
  return `- [${title}](/docs/${name})`;
});
writeFileSync(
  join(assets, "llms.txt"),
  [
    "# synapse-edge",
    "",
    "> Durable, multi-tenant orchestration of AI work behind one HTTP API.",
    "",
    "- [The API as an OpenAPI 3.1 document](/api/v2/openapi.json)",
    ...links,
    "",
  ].join("\n"),
);
