/** The result of `work`; null: it takes longer than `ms`. In workerd, the signal of `pipeTo` ends no read that is under way. */
export async function withinOrNull<Result>(work: Promise<Result>, ms: number): Promise<Result | null> {
  const { promise: late, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), ms);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
