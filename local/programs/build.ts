/**
 * The programs of `npm start` as bundles, in node_modules/.cache/programs.
 *
 * A Node process that runs the sources holds the type stripper and every module of its packages: 120 to 140 MB. From a
 * bundle it holds what it uses: 60 to 80 MB, and starts in a third of the time. A bundle has a source map, so that the
 * stacks of errors name the sources.
 */
import { mkdirSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { dirname, join, parse } from "node:path";
import { pathToFileURL } from "node:url";
import { isNewerThan } from "../processes/is-newer.ts";
import { builtPrograms, programsFolder, projectFolder } from "../processes/programs.ts";
import type { Plugin } from "esbuild";

const sources = ["edge", "local", "shared", "worker-node", "package-lock.json"].map((name) =>
  join(projectFolder, name),
);

/** The file whose time of modification is the time of the build. */
const stamp = join(programsFolder, builtPrograms["local/run.ts"]);

/**
 * Builds the programs when a source is newer than the last build.
 * @throws Error with esbuild's messages
 */
export async function buildPrograms(): Promise<void> {
  if (isNewerThan(stamp, sources)) return;
  const startedMs = Date.now();
  const { build } = await import("esbuild");
  rmSync(programsFolder, { recursive: true, force: true });
  mkdirSync(programsFolder, { recursive: true });
  await build({
    entryPoints: Object.fromEntries(
      Object.entries(builtPrograms).map(([file, built]) => [parse(built).name, join(projectFolder, file)]),
    ),
    outdir: programsFolder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true, // a module that is imported dynamically stays in a file of its own
    format: "esm",
    platform: "node",
    target: "node24",
    // By default "main" is first, and then a dynamic import of an AWS package has no exports.
    mainFields: ["module", "main"],
    sourcemap: true,
    sourcesContent: false,
    legalComments: "none",
    loader: { ".lua": "text" },
    // Packages that read files beside their own, and programs of the build.
    external: ["esbuild", "miniflare", "quickjs-emscripten", "workerd", "wrangler"],
    // CommonJS packages call `require`, which an ES module does not have.
    banner: {
      js: 'import { createRequire as nodeRequire } from "node:module"; const require = nodeRequire(import.meta.url);',
    },
    plugins: [sourceLocations],
    logLevel: "warning",
  });
  // A source that was saved during the build is newer than the build.
  utimesSync(stamp, startedMs / 1_000, startedMs / 1_000);
}

/**
 * Replaces `import.meta` in a source by the values that it has there: a source finds files beside it (migrations, the project's
 * folder), and is not the main module. A URL of a source that is itself a program becomes that of its bundle.
 */
const sourceLocations: Plugin = {
  name: "source-locations",
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const own = readFileSync(path, "utf8");
      if (path.includes("node_modules") || !own.includes("import.meta")) return undefined;
      const contents = own
        .replaceAll(
          /new URL\("\.\/([^"]+)\.ts", import\.meta\.url\)/g,
          'new URL("./$1.mjs", import.meta["url"])',
        )
        .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href))
        .replaceAll("import.meta.dirname", JSON.stringify(dirname(path)))
        .replaceAll("import.meta.main", "false");
      return { contents, loader: "ts", resolveDir: dirname(path) };
    });
  },
};
