/**
 * The load: clients who start runs, ask again when they were not answered, answer what they are asked, cancel some, and
 * retry what failed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import type { Answer, Api } from "./api.ts";
import { orchestrationNames } from "./definitions.ts";
import type { OddAnswer, Request, Taken } from "./evidence.ts";
import type { Random } from "./random.ts";
import { flood, small, tenants } from "./tenants.ts";

const PERIOD_MS = 420;
const BURST_EVERY_MS = 17_000;
const BURST = 25;
const TRIES = 12;

/** The orchestration that asks, and how many of its runs are looked after: the others are left to their deadline. */
const ASKS = "chaos_asks";
const ASKED = 6;

/** Who is to be told of a run. */
export type Hook = { webhook_url: string; webhook_secret: string };

const Accepted = z.object({ run_id: z.string() });
const Cancelled = z.object({ status: z.string() });
const Status = z.object({
  status: z.string(),
  waiting: z.looseObject({ question_id: z.string().optional() }).nullable(),
});

/** Statuses after which nobody knows what became of a request, or which say "later". */
const AGAIN = new Set([0, 429, 500, 502, 503]);

/** A no that a client of this load may get: too late, too much. */
const NO = new Set([409, 429]);

export class Clients {
  readonly requests: Request[] = [];
  readonly taken: Taken[] = [];
  /** Answers that no fault explains. */
  readonly odd: OddAnswer[] = [];
  readonly #api: Api;
  readonly #hook: Hook;
  readonly #random: Random;
  readonly #accepted: (run: string) => void;
  readonly #underWay = new Set<Promise<void>>();
  #turn: string[] = [];
  #on = true;
  #made = 0;
  #answers = 0;

  /** @param accepted is told of each run once, as soon as its 202 is there. */
  constructor(api: Api, hook: Hook, random: Random, accepted: (run: string) => void) {
    this.#api = api;
    this.#hook = hook;
    this.#random = random;
    this.#accepted = accepted;
  }

  /** Sends until `stop`; ends when every client has its answer or has given up. */
  async send(): Promise<void> {
    let burstMs = performance.now() + 3_000;
    while (this.#on) {
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
    this.#on = false;
  }

  #track(work: Promise<void>): void {
    this.#underWay.add(work);
    void work.finally(() => this.#underWay.delete(work));
  }

  #start(tenant: string): void {
    const id = `request-${(this.#made += 1)}`;
    const request: Request = {
      id,
      tenant,
      orchestration: this.#draw(),
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
    // A client that is in doubt asks twice at once.
    if (request.key !== null && this.#random.chance(0.25)) this.#track(this.#post(request));
    if (this.#random.chance(0.1)) this.#track(this.#cancel(request, this.#random.between(50, 3_000)));
  }

  /** Each in its turn, in an order that changes: whatever a point needs is never away for long. */
  #draw(): string {
    if (this.#turn.length === 0) this.#turn = this.#random.shuffle(orchestrationNames);
    return this.#turn.pop() ?? this.#random.pick(orchestrationNames);
  }

  async #post(request: Request): Promise<void> {
    const { id, tenant, orchestration, priority, key } = request;
    const headers = key === null ? {} : { "idempotency-key": key };
    const hook = request.webhook ? this.#hook : {};
    const body = { message: id, tenant_id: tenant, correlation_id: id, priority, ...hook };
    for (let tries = 0; tries < TRIES; tries++) {
      const answer = await this.#call("POST", `/api/v2/orchestrations/${orchestration}/run`, body, headers);
      if (answer.status === 202) return this.#take(request, answer);
      if (answer.status === 0 || answer.status >= 500) request.unknown = true;
      // Without a key another POST would be another run.
      if (key === null || !AGAIN.has(answer.status)) return;
      const asked = Number(answer.headers.get("retry-after") ?? 1) * 1_000;
      await sleep(Math.min(asked, 3_000) + this.#random.between(0, 500));
    }
  }

  async #call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const answer = await this.#api.call(method, path, body, headers);
    const { status } = answer;
    if (status === 500 || (status >= 400 && status < 500 && !NO.has(status))) {
      this.odd.push({ request: `${method} ${path}`, status, body: JSON.stringify(answer.body) });
    }
    return answer;
  }

  #take(request: Request, { body }: Answer): void {
    const { run_id } = Accepted.parse(body);
    if (request.accepted.length === 0) this.#accepted(run_id);
    request.accepted.push(run_id);
  }

  async #cancel(request: Request, afterMs: number): Promise<void> {
    await sleep(afterMs);
    const [run] = request.accepted;
    if (run === undefined) return;
    const { status, body } = await this.#call("POST", `/api/v2/orchestrations/runs/${run}/cancel`);
    if (status === 200 && Cancelled.parse(body).status === "cancelled") request.cancelled = true;
  }

  /** Looks at one of the last runs that ask somebody, and answers: now and then two do, at the same moment. */
  async #answerOne(): Promise<void> {
    const asking = this.requests.filter(({ orchestration }) => orchestration === ASKS).slice(-ASKED);
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
        const said = await this.#call("POST", `${path}/resume`, { response, question_id });
        if (said.status === 202) return void this.taken.push({ run, question: question_id, signed });
        // Who does not know whether he was heard says the same again.
        if (!AGAIN.has(said.status)) return;
        await sleep(500 + this.#random.between(0, 500));
      }
    };
    await Promise.all(this.#random.chance(0.3) ? [answer(), answer()] : [answer()]);
  }

  /** Looks at one earlier run, and retries it if it has failed. */
  async #retryOne(): Promise<void> {
    if (this.requests.length === 0) return;
    const request = this.#random.pick(this.requests);
    const [run] = request.accepted;
    if (run === undefined || request.retried > 1) return;
    const path = `/api/v2/orchestrations/runs/${run}`;
    const { status, body } = await this.#call("GET", `${path}/status`);
    if (status !== 200 || Status.parse(body).status !== "failed") return;
    const answer = await this.#call("POST", `${path}/retry`, {});
    // Also when no answer came: it may have been retried.
    if (answer.status === 202 || AGAIN.has(answer.status)) request.retried += 1;
  }
}
