import { SourceMap } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";
import { expect, test } from "vitest";
import { z } from "zod";
import { lineMap } from "../../local/programs/line-map.ts";
import { projectFolder } from "../../local/processes/programs.ts";

const Parsed = z.object({
  file: z.string().default(""),
  version: z.number(),
  sources: z.array(z.string()),
  sourcesContent: z.array(z.string()).default([]),
  names: z.array(z.string()),
  mappings: z.string(),
  sourceRoot: z.string().default(""),
});
const parse = (text: string): z.output<typeof Parsed> => Parsed.parse(JSON.parse(text));

test("the map of a bundle gives each place of its code the file and line that esbuild's map gives", async () => {
  const { outputFiles } = await build({
    entryPoints: [join(projectFolder, "local/programs/line-map.ts")],
    outdir: projectFolder,
    external: ["zod"],
    bundle: true,
    write: false,
    sourcemap: true,
    sourcesContent: false,
  });
  const [map, code] = outputFiles.map(({ text }) => text);
  const [full, small] = [parse(map ?? ""), parse(lineMap(map ?? ""))];
  expect(full.sources.length).toBeGreaterThan(1);
  expect(small.mappings.length).toBeLessThan(full.mappings.length / 2);
  const places = (code ?? "")
    .split("\n")
    .flatMap((text, line) => Array.from(text, (_, column) => [line, column] as const));
  const placesIn = (parsed: z.output<typeof Parsed>): unknown[] => {
    const known = new SourceMap(parsed);
    return places.map(([line, column]) => {
      const entry = known.findEntry(line, column);
      return "originalLine" in entry ? [entry.originalSource, entry.originalLine] : null;
    });
  };
  expect(placesIn(small)).toEqual(placesIn(full));
});
