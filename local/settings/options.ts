/** The flags of `npm start -- …`. */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { projectFolder } from "../processes/programs.ts";

const usage = `Usage: npm start -- [--workers 2] [--edges 1] [--port 8123] [--data .synapse]
The values are the defaults. Several edges listen on consecutive ports from --port on. All data is in the folder --data.`;

export const defaultDataFolder = resolve(projectFolder, ".synapse");

const count = (flag: string, max: number) =>
  z.coerce
    .number(`--${flag} must be a number`)
    .int(`--${flag} must be a whole number`)
    .min(1, `--${flag} must be at least 1`)
    .max(max, `--${flag} must be at most ${max}`);

const Options = z.object({
  workers: count("workers", 64).default(2),
  edges: count("edges", 16).default(1),
  port: count("port", 65_535).default(8123),
  data: z
    .string()
    .default(defaultDataFolder)
    .transform((folder) => resolve(projectFolder, folder)),
  /** The edge runs in `wrangler dev`, which builds again when a file is saved. */
  dev: z.boolean().default(false),
});
export type Options = z.infer<typeof Options>;

/** The flags, with their defaults. @throws Error with a line for each wrong flag; for `--help` with the usage */
export function readOptions(args: string[]): Options {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args,
    options: {
      workers: text,
      edges: text,
      port: text,
      data: text,
      dev: { type: "boolean" },
      help: { type: "boolean" },
    },
  });
  if (values.help) throw new Error(usage);
  const read = Options.safeParse(values);
  if (!read.success) throw new Error(read.error.issues.map((issue) => issue.message).join("\n"));
  if (read.data.dev && read.data.edges > 1)
    throw new Error("npm run dev serves one edge: use --edges with npm start");
  return read.data;
}
