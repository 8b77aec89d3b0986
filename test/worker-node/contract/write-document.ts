/** `npm run docs:steps`: writes docs/steps.md from the contracts of the step types. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { projectFolder } from "../../../local/processes/programs.ts";
import { documentOf } from "./document.ts";
import { contracts } from "./table.ts";

writeFileSync(join(projectFolder, "docs/steps.md"), documentOf(contracts));
