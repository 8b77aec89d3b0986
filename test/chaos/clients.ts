/**
 * The load: clients that start runs, repeat requests without a response, answer the questions of runs, cancel some runs,
 * and retry failed ones.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { ApiResponse, Api } from "./api.ts";
import { CHAT, workNames } from "./definitions.ts";
import type { UnexpectedResponse, Request, AcceptedAnswer } from "./evidence.ts";
import type { Random } from "./random.ts";
import { flood, small, tenants } from "./tenants.ts";

const PERIOD_MS = 420;
const BURST_EVERY_MS = 17_000;
const BURST = 25;
const TRIES = 12;
/** Each tenant has as many chat sessions, so that turns wait for each other. */
const SESSIONS = 2;

/** The orchestration with a question. Clients answer its newest runs; the others reach their deadline. */
const QUESTION_ORCHESTRATION = "chaos_asks";
const NEWEST = 6;

/** The webhook of a run. */
export type Webhook = { webhook_url: string; webhook_secret: string };

const Accepted = z.union([
  z.object({ run_id: z.string() }),
  z
    .object({ turn_id: z.string(), session_id: z.string() })
    .transform(({ turn_id, session_id }) => ({ run_id: turn_id, session_id })),
]);
const Cancelled = z.object({ status: z.string() });
const Status = z.object({
  status: z.string(),
  waiting: z.looseObject({ question_id: z.string().optional() }).nullable(),
});

/** Statuses after which a client repeats its request: its outcome is unknown, or the response asks for a later try. */
const REPEATABLE = new Set([0, 429, 500, 502, 503]);

/** Refusals that a client of this load may receive: too late, too much. */
const REFUSALS = new Set([409, 429]);

export class Clients {
  readonly requests: Request[] = [];
  readonly acceptedAnswers: AcceptedAnswer[] = [];
  /** Responses that no fault explains. */
  readonly unexpected: UnexpectedResponse[] = [];
  readonly #api: Api;
  readonly #webhook: Webhook;
  readonly #random: Random;
  readonly #onAccepted: (run: string) => void;
  readonly #underWay = new Set<Promise<void>>();
  #undrawn: string[] = [];
  /** The chat sessions of each tenant. */
  readonly #sessions = new Map<string, string[]>();
  #isSending = true;
  #requestCount = 0;
  #answers = 0;

  /** @param accepted is called once for each run, when its first 202 arrives. */
  constructor(api: Api, webhook: Webhook, random: Random, accepted: (run: string) => void) {
    this.#api = api;
    this.#webhook = webhook;
    this.#random = random;
    this.#onAccepted = accepted;
  }

  /** Sends requests until `stop`; resolves when every client has its response or has given up. */
  async send(): Promise<void> {
    let burstMs = performance.now() + 3_000;
    while (this.#isSending) {
      this.#start(this.#random.chance(0.25) ? small.tenant_id : this.#random.pick(tenants).tenant_id);
      if (performance.now() > burstMs) {
        burstMs = performance.now() + BURST_EVERY_MS;
        for (let i = 0; i < BURST; i++) this.#start(flood.tenant_id);
      }
      if (this.#random.chance(0.4)) this.#track(this.#retryOne());
      this.#track(this.#answerOne());
      await sleep(PERIOD_MS);
    }
    await Promise.all(this.#underWay);
  }

  stop(): void {
    this.#isSending = false;
  }

  #track(work: Promise<void>): void {
    this.#underWay.add(work);
    void work.finally(() => this.#underWay.delete(work));
  }

  #start(tenant: string): void {
    const id = `request-${(this.#requestCount += 1)}`;
    const request: Request = {
      id,
      tenant,
      orchestration: this.#drawOrchestration(),
      priority: this.#random.chance(0.5) ? 0 : Math.floor(this.#random.between(1, 11)),
      key: this.#random.chance(0.75) ? `key-${id}` : null,
      webhook: this.#random.chance(0.4),
      accepted: [],
      unknown: false,
      cancelled: false,
      retried: 0,
    };
    this.requests.push(request);
    this.#track(this.#post(request));
    // Some clients send a request with a key twice at once.
    if (request.key !== null && this.#random.chance(0.25)) this.#track(this.#post(request));
    if (this.#random.chance(0.1)) this.#track(this.#cancel(request, this.#random.between(50, 3_000)));
  }

  /** Draws every orchestration once before any of them again, so that runs of each kind are frequent. */
  #drawOrchestration(): string {
    if (this.#undrawn.length === 0) this.#undrawn = this.#random.shuffle(workNames);
    return this.#undrawn.pop() ?? this.#random.pick(workNames);
  }

  async #post(request: Request): Promise<void> {
    const { id, tenant, orchestration, priority, key } = request;
    const headers = key === null ? {} : { "idempotency-key": key };
    const webhook = request.webhook ? this.#webhook : {};
    const body = { message: id, tenant_id: tenant, correlation_id: id, priority, ...webhook };
    const { path, fields } = this.#targetOf(orchestration, tenant);
    for (let tries = 0; tries < TRIES; tries++) {
      const answer = await this.#call("POST", path, { ...body, ...fields }, headers);
      if (answer.status === 202) return this.#recordAccepted(request, answer);
      if (answer.status === 0 || answer.status >= 500) request.unknown = true;
      // Without a key a second POST would make a second run.
      if (key === null || !REPEATABLE.has(answer.status)) return;
      const afterMs = Number(answer.headers.get("retry-after") ?? 1) * 1_000;
      await sleep(Math.min(afterMs, 3_000) + this.#random.between(0, 500));
    }
  }

  #targetOf(orchestration: string, tenant: string): { path: string; fields: object } {
    if (orchestration !== CHAT) return { path: `/api/v2/orchestrations/${orchestration}/run`, fields: {} };
    const sessions = this.#sessions.get(tenant) ?? [];
    const message =
      sessions.length < SESSIONS ? { agent: "agent_noter" } : { session_id: this.#random.pick(sessions) };
    return { path: "/api/v2/chat", fields: message };
  }

  async #call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<ApiResponse> {
    const answer = await this.#api.call(method, path, body, headers);
    const { status } = answer;
    if (status === 500 || (status >= 400 && status < 500 && !REFUSALS.has(status))) {
      this.unexpected.push({ request: `${method} ${path}`, status, body: JSON.stringify(answer.body) });
    }
    return answer;
  }

  #recordAccepted(request: Request, { body }: ApiResponse): void {
    const accepted = Accepted.parse(body);
    const { run_id } = accepted;
    if ("session_id" in accepted) {
      const known = this.#sessions.get(request.tenant) ?? [];
      this.#sessions.set(request.tenant, [...new Set([...known, accepted.session_id])]);
    }
    if (request.accepted.length === 0) this.#onAccepted(run_id);
    request.accepted.push(run_id);
  }

  async #cancel(request: Request, afterMs: number): Promise<void> {
    await sleep(afterMs);
    const [run] = request.accepted;
    if (run === undefined) return;
    const { status, body } = await this.#call("POST", `/api/v2/orchestrations/runs/${run}/cancel`);
    if (status === 200 && Cancelled.parse(body).status === "cancelled") request.cancelled = true;
  }

  /** Answers the question of one of the newest runs. Now and then two clients answer at the same moment. */
  async #answerOne(): Promise<void> {
    const asking = this.requests
      .filter(({ orchestration }) => orchestration === QUESTION_ORCHESTRATION)
      .slice(-NEWEST);
    if (asking.length === 0) return;
    const [run] = this.#random.pick(asking).accepted;
    if (run === undefined) return;
    const path = `/api/v2/orchestrations/runs/${run}`;
    const { status, body } = await this.#call("GET", `${path}/status`);
    const question_id = status === 200 ? Status.parse(body).waiting?.question_id : undefined;
    if (question_id === undefined) return;
    const answer = async (): Promise<void> => {
      const signed = `answer-${(this.#answers += 1)}`;
      const response = { decision: "approve", signed };
      for (let tries = 0; tries < TRIES; tries++) {
        const { status: outcome } = await this.#call("POST", `${path}/resume`, { response, question_id });
        if (outcome === 202) return void this.acceptedAnswers.push({ run, question: question_id, signed });
        // A client that does not know the outcome repeats its answer.
        if (!REPEATABLE.has(outcome)) return;
        await sleep(500 + this.#random.between(0, 500));
      }
    };
    await Promise.all(this.#random.chance(0.3) ? [answer(), answer()] : [answer()]);
  }

  /** Retries one earlier run, if it has failed. */
  async #retryOne(): Promise<void> {
    if (this.requests.length === 0) return;
    const request = this.#random.pick(this.requests);
    const [run] = request.accepted;
    if (run === undefined || request.retried > 1) return;
    const path = `/api/v2/orchestrations/runs/${run}`;
    const { status, body } = await this.#call("GET", `${path}/status`);
    if (status !== 200 || Status.parse(body).status !== "failed") return;
    const answer = await this.#call("POST", `${path}/retry`, {});
    // A retry without a response is recorded too: the run may have been retried.
    if (answer.status === 202 || REPEATABLE.has(answer.status)) request.retried += 1;
  }
}
