import { setTimeout as sleep } from "node:timers/promises";
import type { LaneSettingsOf } from "../../shared/contracts/lane-settings.ts";
import type { Count } from "../../shared/metrics.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import type { DueMail } from "../../shared/store/mails/claim-mails.ts";
import type { MailState, MailTry } from "../../shared/store/mails/save-mail-try.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { ClaimPasses } from "../outbound/claim-passes.ts";
import { LaneStarts } from "../outbound/lane-starts.ts";
import { saveOutcome } from "../outbound/save-outcome.ts";
import { mailServerOf } from "./mail-transport.ts";
import type { MailServerDeps } from "./mail-transport.ts";
import { sendMail, mailTimeoutMsOf } from "./send-mail.ts";
import type { MailVerdict } from "./send-mail.ts";

/** The slots of a worker where the lane sets none. */
const DEFAULT_SLOTS = 5;
/** What a lease has beyond the time of a try, to write its outcome in. The outcome of a message that was sent to its end is unknown after that. */
const LEASE_SLACK_MS = 30_000;
/** After this time a mail is due again for which this worker has no server, because its tenant's was deleted after the claim. */
const NO_SERVER_RETRY_MS = 60_000;
/** How long an aborted try may take to end. */
const ABORT_GRACE_MS = 2_000;

type MailSenderDeps = MailServerDeps & {
  store: Pick<StateStore, "claimMails" | "endMail" | "saveMailTry" | "takeStarts">;
  laneSettings: LaneSettingsOf;
  count: Pick<Count, "add">;
};

/**
 * Sends the due mails: docs/protocol.md 5.28. Postgres chooses them and leases them to this worker. The settings of the lane `mail` say
 * how many are open at once, and how many all workers together begin in a second.
 */
export class MailSender {
  readonly #deps: MailSenderDeps;
  readonly #starts: LaneStarts;
  readonly #open = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #passes = new ClaimPasses(
    () => this.#claimAll(),
    (error) => log.warn("mail.claim_failed", { message: messageOf(error) }),
  );
  /** The tenant after which the next claim begins; empty: it begins with the first. */
  #after = "";

  constructor(deps: MailSenderDeps) {
    this.#deps = deps;
    this.#starts = new LaneStarts("mail", deps.store, deps.laneSettings);
  }

  start(): void {
    this.#passes.start();
  }

  /** Claims what is due, now or after the claims under way. */
  wake(): void {
    this.#passes.wake();
  }

  /** Claims no more, gives open tries `graceMs` to end, and stops the rest: what was not sent is due again at once. */
  async drain(graceMs: number): Promise<void> {
    await this.#passes.stop();
    await Promise.race([Promise.all(this.#open), sleep(graceMs)]);
    this.#stop.abort();
    await Promise.race([Promise.all(this.#open), sleep(ABORT_GRACE_MS)]);
  }

  /** Claims until nothing is due, all slots are taken or the lane has no start left. */
  async #claimAll(): Promise<void> {
    while (this.#passes.isActive) {
      const lane = this.#deps.laneSettings("mail");
      const free = (lane.slots ?? DEFAULT_SLOTS) - this.#open.size;
      if (free <= 0) return;
      const { granted, nextMs } = await this.#starts.take(free);
      if (granted === 0) return this.#passes.wakeAfter(nextMs);
      const leaseMs = mailTimeoutMsOf(lane) + LEASE_SLACK_MS;
      const from = this.#after;
      const hasServer = this.#deps.settings !== null;
      const { attempts } = lane;
      const claim = { slots: granted, after: from, leaseMs, hasServer, reportsEnd: true, attempts };
      const claimed = await this.#deps.store.claimMails(claim);
      this.#after = claimed.after;
      for (const mail of claimed.mails) this.#begin(mail);
      await this.#starts.giveBack(granted - claimed.mails.length);
      if (claimed.mails.length === 0 && from === "" && claimed.after === "") return;
    }
  }

  #begin(mail: DueMail): void {
    const done = this.#try(mail)
      .catch((error: unknown) => {
        // The lease of the mail lapses: it is due again, or its outcome is unknown.
        log.error("mail.failed", { mail: mail.message_id, ...aboutRun(mail), message: messageOf(error) });
      })
      .finally(() => {
        this.#open.delete(done);
        this.wake();
      });
    this.#open.add(done);
  }

  async #try(mail: DueMail): Promise<void> {
    const { message_id, tries } = mail;
    const startedMs = performance.now();
    const verdict = await this.#verdictOf(mail);
    const state = await this.#save({ message_id, tries, ...verdict });
    this.#deps.count.add("synapse_mails_total", { outcome: state });
    const took_ms = Math.round(performance.now() - startedMs);
    const what = { mail: message_id, ...aboutRun(mail), try: tries, state, took_ms, error: verdict.error };
    if (state === "unknown") log.warn("mail.sent", what);
    else log.info("mail.sent", what);
  }

  async #verdictOf(mail: DueMail): Promise<MailVerdict> {
    const server = await mailServerOf(mail, this.#deps);
    if (!("error" in server)) {
      const { message_id, tries, reports_end } = mail;
      const reportEnd = () => (reports_end ? this.#deps.store.endMail({ message_id, tries }) : true);
      return sendMail(server, mail, {
        signal: this.#stop.signal,
        rules: this.#deps.laneSettings("mail"),
        reportEnd,
      });
    }
    const { error } = server;
    const { refused, deferred } = mail;
    const unchanged = { refused: refused ?? [], deferred: deferred ?? [] };
    return { outcome: null, failed: false, retry_ms: NO_SERVER_RETRY_MS, error, ...unchanged };
  }

  #save(result: MailTry): Promise<MailState> {
    return saveOutcome(
      () => this.#deps.store.saveMailTry(result),
      (error) => log.warn("mail.outcome_delayed", { mail: result.message_id, message: messageOf(error) }),
    );
  }
}
