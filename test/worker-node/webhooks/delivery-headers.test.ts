import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { describe, expect, test } from "vitest";
import { WebhookSecret } from "../../../shared/contracts/webhook.ts";
import { headersOf } from "../../../worker-node/webhooks/delivery-headers.ts";

const body = '{"type":"run.completed"}';
const NOW = new Date();
const signed = (secret: string) => headersOf("whd_1", body, [secret], NOW);

describe("a secret as Standard Webhooks write it", () => {
  const secret = `whsec_${Buffer.from("0123456789abcdefghijklmn").toString("base64")}`;

  test("signs so that their own verifier accepts it", () => {
    expect(new Webhook(secret).verify(body, signed(secret))).toEqual(JSON.parse(body));
  });

  test("signs X-Synapse-Signature with its text, as every secret does", () => {
    const hex = createHmac("sha256", secret).update(body).digest("hex");
    expect(signed(secret)["x-synapse-signature"]).toBe(`sha256=${hex}`);
  });

  test.each(["whsec_", "whsec_not base64", "whsec_a", "whsec_ab=c", "whsec_é123456"])(
    "that does not decode is refused: %s",
    (wrong) => {
      expect(WebhookSecret.safeParse(wrong).success).toBe(false);
    },
  );
});

test("a secret without the prefix signs with the bytes of its text", () => {
  const secret = "pässword-of-a-receiver";
  const verifier = new Webhook(new TextEncoder().encode(secret), { format: "raw" });
  expect(verifier.verify(body, signed(secret))).toEqual(JSON.parse(body));
});
