/** The promise, or the reason of `limit` when that ends first. */
export async function endedBy<Result>(limit: AbortSignal, promise: Promise<Result>): Promise<Result> {
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const onEnd = (): void => reject(limit.reason);
  limit.addEventListener("abort", onEnd, { once: true });
  promise.catch(() => {}); // it may fail after the limit
  try {
    return await Promise.race([promise, ended]);
  } finally {
    limit.removeEventListener("abort", onEnd);
  }
}
