import { z } from "zod";

/** What an approver answers to a question that needs approvals. */
export const Decision = z.enum(["approve", "reject"]);
export type Decision = z.infer<typeof Decision>;

/** The key that an answer came with, and the person that the client named. */
export const AnsweredBy = z.object({ key_id: z.string(), person: z.string().nullable() });
export type AnsweredBy = z.infer<typeof AnsweredBy>;

/** One approver's answer, as it is stored. `answer`: JSON text. */
export const Vote = z.object({
  person: z.string(),
  decision: Decision,
  key_id: z.string(),
  answer: z.string(),
  at: z.iso.datetime(),
});
export type Vote = z.infer<typeof Vote>;

/** A vote as clients see it while the question is open. */
export const ShownVote = Vote.pick({ person: true, decision: true, at: true });

/** The longest answer of one approver, as JSON: state holds those of all 300 that a question may have. */
export const MAX_VOTE_BYTES = 16 * 1024;
