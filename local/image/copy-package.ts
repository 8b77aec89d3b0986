/** Copies installed packages into the file tree of an image. */
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { projectFolder } from "../processes/programs.ts";

const Manifest = z.object({
  dependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
});

/**
 * Copies an installed package, and the packages that it depends on without the optional ones, into `tree`.
 * @param only the parts of the package to copy, without any dependency; absent: the whole package with its dependencies
 */
export function copyPackage(name: string, tree: string, only?: string[]): void {
  const source = join(projectFolder, "node_modules", name);
  const target = join(tree, "node_modules", name);
  if (only !== undefined) {
    for (const part of only) cpSync(join(source, part), join(target, part), { recursive: true });
    return;
  }
  if (existsSync(target)) return;
  cpSync(source, target, { recursive: true });
  for (const dependency of Object.keys(manifestOf(name).dependencies)) copyPackage(dependency, tree);
}

/** The optional dependencies of the package that are installed: those for this platform. */
export function optionalPackages(name: string): string[] {
  return Object.keys(manifestOf(name).optionalDependencies).filter((each) =>
    existsSync(join(projectFolder, "node_modules", each)),
  );
}

function manifestOf(name: string): z.infer<typeof Manifest> {
  const file = join(projectFolder, "node_modules", name, "package.json");
  return Manifest.parse(JSON.parse(readFileSync(file, "utf8")));
}
