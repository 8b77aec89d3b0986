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

  const ofBytes = (bytes: number) => `whsec_${Buffer.alloc(bytes, 7).toString("base64")}`;

  test("of fewer bytes than they ask for is refused, and the message says what would be right", () => {
    expect(
      [ofBytes(24), ofBytes(64), ofBytes(75)].every((right) => WebhookSecret.safeParse(right).success),
    ).toBe(true);
    for (const bytes of [1, 8, 16, 23]) {
      const message = `must be whsec_ and the base64 of at least 24 bytes, as Standard Webhooks write a secret: this one has ${bytes}`;
      expect(WebhookSecret.safeParse(ofBytes(bytes)).error?.issues).toMatchObject([{ message }]);
    }
  });

  test("of fewer bytes, which was stored before that rule, signs as it did", () => {
    expect(new Webhook(ofBytes(8)).verify(body, signed(ofBytes(8)))).toEqual(JSON.parse(body));
  });

  // Fails when the text of such a key becomes the key of another algorithm, which the receiver does not verify.
  test.each(["whsk_", "whpk_"])("for signatures by key pair is refused: %s", (prefix) => {
    const pair = prefix + Buffer.alloc(64, 7).toString("base64");
    expect(WebhookSecret.safeParse(pair).error?.issues).toMatchObject([
      { message: expect.stringContaining("send a secret that begins with whsec_") },
    ]);
  });
});

// The contract: any text without the prefix is its own bytes.
test("a short secret without the prefix signs with the bytes of its text, and an empty one is none", () => {
  for (const secret of ["x", "secret"]) {
    expect(WebhookSecret.safeParse(secret).success).toBe(true);
    const hex = createHmac("sha256", secret).update(body).digest("hex");
    expect(signed(secret)["x-synapse-signature"]).toBe(`sha256=${hex}`);
  }
  expect(WebhookSecret.safeParse("").error?.issues).toMatchObject([{ code: "too_small" }]);
});

test("a secret without the prefix signs with the bytes of its text", () => {
  const secret = "pässword-of-a-receiver";
  const verifier = new Webhook(new TextEncoder().encode(secret), { format: "raw" });
  expect(verifier.verify(body, signed(secret))).toEqual(JSON.parse(body));
});
