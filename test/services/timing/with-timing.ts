/**
 * Replaces `shared/timing.ts` in a process that is started with `--import …/with-timing.ts?short` (or `?long`) by the
 * module of that name in this folder. The product has no setting for these durations, because every worker of a fleet
 * must agree on them; all workers of a test do.
 */
import { registerHooks } from "node:module";

const name = new URL(import.meta.url).search.slice(1);
const real = new URL("../../../shared/timing.ts", import.meta.url).href;
const replacement = new URL(`${name}.ts`, import.meta.url).href;

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    const isReplaced = resolved.url === real && context.parentURL !== replacement;
    return isReplaced ? { ...resolved, url: replacement } : resolved;
  },
});
