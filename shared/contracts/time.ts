import { z } from "zod";

/** Postgres has no year 0. */
const hasYear = (text: string): boolean => !text.startsWith("0000-");
const SENTENCE = "must be in the year 0001 or later";

/** A time with its offset, as clients write it: one that Postgres can store. */
export const ClientTime = z.iso.datetime({ offset: true }).refine(hasYear, SENTENCE);

/** A day, as clients write it. */
export const ClientDay = z.iso.date().refine(hasYear, SENTENCE);
