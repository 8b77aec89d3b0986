/**
 * Bundles of the project's Node programs, which work wherever the project's folder is: a bundle finds the project's files
 * (migrations, static files) by their place relative to its own.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { projectFolder } from "../processes/programs.ts";
import { lineMap } from "./line-map.ts";
import type { Plugin } from "esbuild";

export type Bundles = {
  /** The name of each bundle, without `.mjs`, and its source. */
  programs: Record<string, string>;
  /** The folder of the bundles, relative to the folder that holds the project's files. */
  folder: string;
  /** The folder to write to: `folder` of this project, or of another tree with the same files. It is emptied before. */
  out: string;
  /** Plugins of esbuild that run before those of this module. */
  plugins?: Plugin[];
};

/** Makes the bundles, and replaces all files in `out` by them. @throws Error with esbuild's messages */
export async function bundlePrograms({ programs, folder, out, plugins = [] }: Bundles): Promise<void> {
  const { build } = await import("esbuild");
  const outdir = join(projectFolder, folder);
  const { outputFiles } = await build({
    entryPoints: Object.fromEntries(
      Object.entries(programs).map(([name, source]) => [name, join(projectFolder, source)]),
    ),
    // Source maps name the sources relative to this folder, also when the files are written to another tree.
    outdir,
    write: false,
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
    plugins: [...plugins, requiredHttp, sourceLocations(outdir)],
    logLevel: "warning",
  });
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  for (const { path, contents, text } of outputFiles) {
    writeFileSync(join(out, basename(path)), path.endsWith(".map") ? lineMap(text) : contents);
  }
}

/**
 * `node:http` is required, not imported, so that a program starts without undici and `node:http2`. An import reads every export of the
 * module, and those of `WebSocket` and its events load both: a tenth of the processor time of a worker's start. The first `fetch` loads
 * them.
 */
const requiredHttp: Plugin = {
  name: "required-http",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind === "import-statement" ? { path: "node:http", namespace: "required" } : undefined,
    );
    onLoad({ filter: /^/, namespace: "required" }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

/**
 * Replaces `import.meta` in a source by the values for the place of that source, so that it finds the files beside it (migrations, the
 * project's folder) from the bundle too. No source is the main module. A URL of a source that is itself a program becomes that of its
 * bundle.
 */
function sourceLocations(outdir: string): Plugin {
  return {
    name: "source-locations",
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const own = readFileSync(path, "utf8");
        if (path.includes("node_modules") || !own.includes("import.meta")) return undefined;
        const url = (of: string): string =>
          `new URL(${JSON.stringify(relative(outdir, of))}, import.meta["url"])`;
        const contents = own
          .replaceAll(
            /new URL\("\.\/([^"]+)\.ts", import\.meta\.url\)/g,
            'new URL("./$1.mjs", import.meta["url"])',
          )
          .replaceAll("import.meta.url", `${url(path)}.href`)
          .replaceAll(
            "import.meta.dirname",
            `process.getBuiltinModule("node:url").fileURLToPath(${url(dirname(path))})`,
          )
          .replaceAll("import.meta.main", "false");
        return { contents, loader: "ts", resolveDir: dirname(path) };
      });
    },
  };
}
