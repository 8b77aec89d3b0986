/** After the start, so that the first workers have migrated the database. */
const FIRST_MS = 60_000;
/** As `crons` of wrangler.toml. */
const PERIOD_MS = 15 * 60_000;

/**
 * Runs the edge's periodic work, which the platform starts for an edge at Cloudflare: a minute after the start, then every 15 minutes,
 * until the edge has ended. The edge logs what has failed.
 * @param url the socket of `cron.worker.mjs`
 */
export function startCron(url: string, ended: Promise<unknown>): void {
  const run = (): void => void fetch(url).catch(() => {});
  let period: NodeJS.Timeout | undefined;
  const first = setTimeout(() => {
    run();
    period = setInterval(run, PERIOD_MS).unref();
  }, FIRST_MS).unref();
  void ended.finally(() => {
    clearTimeout(first);
    clearInterval(period);
  });
}
