import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import {
  BusyReceiver,
  ClaimedDeliveries,
  DueDelivery,
  Receiver,
  claimDeliveries,
} from "../webhooks/claim-deliveries.ts";
import {
  DeliveryState,
  TryResult,
  countDueDeliveries,
  releaseDeliveries,
  saveDeliveryTry,
} from "../webhooks/delivery-outcomes.ts";
import { NewMail } from "../../contracts/mail.ts";
import { ClaimedMails, MailClaim, claimMails } from "../mails/claim-mails.ts";
import { endMail } from "../mails/end-mail.ts";
import { readMailSender } from "../mails/mail-servers.ts";
import { queueMail } from "../mails/queue-mail.ts";
import { MailState, MailTry, saveMailTry } from "../mails/save-mail-try.ts";
import { readEvents } from "../webhooks/read-events.ts";
import type { Bind } from "./verb.ts";

/** Webhook deliveries and mails: their claims and outcomes. */
export function deliveryVerbs(bind: Bind) {
  return {
    claimDeliveries: bind({
      name: "claimDeliveries",
      args: z.tuple([
        z.number().int().min(1).max(100),
        z.array(BusyReceiver).max(1_000),
        Receiver.nullable(),
        z.boolean(),
      ]),
      result: ClaimedDeliveries,
      run: claimDeliveries,
    }),
    readEvents: bind({
      name: "readEvents",
      args: z.tuple([RunId, z.number().int()]),
      result: z.string().nullable(),
      run: readEvents,
    }),
    saveDeliveryTry: bind({
      name: "saveDeliveryTry",
      args: z.tuple([TryResult]),
      result: DeliveryState,
      run: saveDeliveryTry,
    }),
    releaseDeliveries: bind({
      name: "releaseDeliveries",
      args: z.tuple([z.array(DueDelivery.pick({ delivery_id: true, tries: true })).max(1_000)]),
      result: z.null(),
      run: releaseDeliveries,
    }),
    countDueDeliveries: bind({
      name: "countDueDeliveries",
      args: z.tuple([]),
      result: z.object({ due: z.number(), overdue: z.number() }),
      run: countDueDeliveries,
    }),
    queueMail: bind({ name: "queueMail", args: z.tuple([NewMail]), result: z.boolean(), run: queueMail }),
    readMailSender: bind({
      name: "readMailSender",
      args: z.tuple([RunId]),
      result: z.string().nullable(),
      run: readMailSender,
    }),
    claimMails: bind({
      name: "claimMails",
      args: z.tuple([MailClaim]),
      result: ClaimedMails,
      run: claimMails,
    }),
    endMail: bind({
      name: "endMail",
      args: z.tuple([MailTry.pick({ message_id: true, tries: true })]),
      result: z.boolean(),
      run: endMail,
    }),
    saveMailTry: bind({
      name: "saveMailTry",
      args: z.tuple([MailTry]),
      result: MailState,
      run: saveMailTry,
    }),
  };
}
