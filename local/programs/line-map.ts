import { decode, encode } from "@jridgewell/sourcemap-codec";
import type { SourceMapLine } from "@jridgewell/sourcemap-codec";
import { z } from "zod";

const SourceMap = z.looseObject({ mappings: z.string() });

/**
 * A source map of esbuild with the places that begin another line of a source, and without names: a frame of a stack has its file and
 * line, and the column at which that line begins.
 *
 * The first error whose stack a program reads makes Node parse the whole map, and keep it. This one is a third as large to parse.
 */
export function lineMap(text: string): string {
  const map = SourceMap.parse(JSON.parse(text));
  return JSON.stringify({ ...map, names: [], mappings: encode(decode(map.mappings).map(lineBeginnings)) });
}

function lineBeginnings(places: SourceMapLine): SourceMapLine {
  let [source, line] = [-1, -1];
  return places.flatMap(([column, nextSource = -1, nextLine = -1, sourceColumn = 0]) => {
    if (nextSource === source && nextLine === line) return [];
    [source, line] = [nextSource, nextLine];
    return [nextSource === -1 ? [column] : [column, nextSource, nextLine, sourceColumn]];
  });
}
