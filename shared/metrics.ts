type Counter = { readonly type: "counter"; readonly help: string; readonly labels: readonly string[] };
type Histogram = Omit<Counter, "type"> & { readonly type: "histogram"; readonly buckets: readonly number[] };
/** A metric: its type, its labels, and the text that explains it. Buckets: upper bounds in seconds. */
export type Series = Counter | Histogram;

/**
 * The series of GET /api/v2/metrics that are counted over the whole fleet, under the names of the predecessor where it had one.
 * Workers count in memory, except runs, which are counted in Postgres (shared/store/metrics/).
 */
export const series = {
  synapse_runs_enqueued_total: {
    type: "counter",
    help: "Runs that were accepted",
    labels: ["orch_id", "tenant_id"],
  },
  synapse_runs_completed_total: {
    type: "counter",
    help: "Runs that have ended, by their status: completed, failed or cancelled",
    labels: ["status", "tenant_id"],
  },
  synapse_run_duration_seconds: {
    type: "histogram",
    help: "From a run's first pickup to its end",
    labels: ["tenant_id"],
    buckets: [1, 5, 15, 30, 60, 120, 300, 600, 1_800, 3_600],
  },
  synapse_run_queue_seconds: {
    type: "histogram",
    help: "From a run's acceptance to its first pickup, counted at its end",
    labels: ["tenant_id"],
    buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3_600],
  },
  synapse_step_duration_seconds: {
    type: "histogram",
    help: "Durations of steps that had a result",
    labels: ["step_type"],
    buckets: [0.1, 0.5, 1, 5, 15, 30, 60, 120],
  },
  synapse_step_failures_total: {
    type: "counter",
    help: "Failed tries of steps, by the code of the error",
    labels: ["step_type", "code"],
  },
  synapse_model_call_seconds: {
    type: "histogram",
    help: "Durations of model calls that had an answer",
    labels: ["provider"],
    buckets: [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120],
  },
  synapse_model_tokens_total: {
    type: "counter",
    help: "Tokens of model calls, also of failed ones, by kind: input or output",
    labels: ["provider", "model", "kind"],
  },
  synapse_model_cost_usd_total: {
    type: "counter",
    help: "Cost of model calls, also of failed ones, in USD, by the known prices",
    labels: ["provider", "model"],
  },
  synapse_model_waits_total: {
    type: "counter",
    help: "Model calls that had to wait for their provider, by reason: provider_limit, or provider_open while its breaker is open",
    labels: ["provider", "reason"],
  },
  synapse_model_kept_answers_total: {
    type: "counter",
    help: "Model calls that a kept answer of an earlier call replaced",
    labels: ["provider", "model"],
  },
  synapse_mails_total: {
    type: "counter",
    help: "Tries of mails, by what became of the mail: sent, rejected or unknown, or pending when it is tried again",
    labels: ["outcome"],
  },
  synapse_repairs_total: {
    type: "counter",
    help: "Repairs of the reconciler, by kind of fault",
    labels: ["kind"],
  },
  synapse_webhook_deliveries_total: {
    type: "counter",
    help: "Webhook requests that were sent, by outcome",
    labels: ["outcome"],
  },
} as const satisfies Record<string, Series>;

/** The name of a series. */
export type SeriesName = keyof typeof series;

type Named<Type extends Series["type"]> = {
  [Name in SeriesName]: (typeof series)[Name]["type"] extends Type ? Name : never;
}[SeriesName];
/** The name of a counter. */
export type CounterName = Named<"counter">;
/** The name of a histogram. */
export type HistogramName = Named<"histogram">;

/** The label of a histogram's buckets, whose value is the upper bound. */
export const BUCKET = "le";

/** The values of a series' labels, by label. */
export type Labels = Readonly<Record<string, string>>;

/** Counts in the memory of a worker. `amount`: 1 if it is absent. */
export type Count = {
  add(name: CounterName, labels: Labels, amount?: number): void;
  observe(name: HistogramName, labels: Labels, seconds: number): void;
};
