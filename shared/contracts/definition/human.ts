import { z } from "zod";
import { limits, orDefault, orNull } from "./fields.ts";

/** One field of a form that a person fills in. The original writes `key` in its examples and `name` in its model. */
export const HumanField = z
  .object({
    key: orNull(z.string().max(limits.nameChars)),
    name: orNull(z.string().max(limits.nameChars)),
    label: orNull(z.string().max(limits.nameChars)),
    type: orDefault(z.string().max(50).default("text")),
    options: orNull(z.array(z.string().max(limits.nameChars)).max(limits.keys)),
  })
  .transform((field, context) => {
    const key = field.key ?? field.name;
    if (key === null) {
      context.addIssue({ code: "custom", message: "a field must have a key" });
      return z.NEVER;
    }
    return { key, label: field.label ?? key, type: field.type, options: field.options };
  });
export type HumanField = z.infer<typeof HumanField>;
