import { z } from "zod";

/** Postgres has no year 0. */
const hasYear = (text: string): boolean => !text.startsWith("0000-");
const SENTENCE = "must be in the year 0001 or later";

/** A `+` that was not encoded is a space in a query. */
const LOST_PLUS = /^[0-9T:.-]+ [0-9]{2}:[0-9]{2}$/;

/** A time with its offset, as clients write it: one that Postgres can store. */
export const ClientTime = z.iso
  .datetime({
    offset: true,
    abort: true,
    error: ({ input }) =>
      typeof input === "string" && LOST_PLUS.test(input)
        ? "has a space before its offset: write the + as %2B in a URL"
        : undefined,
  })
  .refine(hasYear, SENTENCE);

/** A day, as clients write it. */
export const ClientDay = z.iso.date({ abort: true }).refine(hasYear, SENTENCE);
