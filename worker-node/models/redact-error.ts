import { redact } from "../../shared/security/redact.ts";

const MAX_CAUSES = 10;

/** Takes a secret out of the texts and stacks of an error and of its causes, before anything logs them. */
export function redactError(error: unknown, secret: string): void {
  let each: unknown = error;
  for (let n = 0; each instanceof Error && n < MAX_CAUSES; n++) {
    each.message = redact(each.message, [secret]);
    if (each.stack !== undefined) each.stack = redact(each.stack, [secret]);
    each = each.cause;
  }
}
