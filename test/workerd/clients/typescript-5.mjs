/** `node --import` this for openapi-typescript: it needs the compiler's interface of TypeScript 5, which TypeScript 7 does not have. */
import { registerHooks } from "node:module";

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "typescript"
      ? { url: new URL("typescript-5-default.mjs", import.meta.url).href, shortCircuit: true }
      : next(specifier, context),
});
