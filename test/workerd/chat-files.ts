/** The files of chat messages, from an upload to the model, on the edge and the worker of a test file. */
import { describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { text } from "../worker-node/models/provider-server.ts";
import type { ProviderServer } from "../worker-node/models/provider-server.ts";
import type { Edge } from "./edge.ts";

const Turn = z.object({ session_id: z.string(), turn_id: z.string() });
const File = z.looseObject({ name: z.string(), url: z.string() });
const Session = z.looseObject({
  status: z.string(),
  error: z.looseObject({ code: z.string() }).nullable(),
  messages: z.array(z.looseObject({ role: z.string(), attachments: z.array(File) })),
});
const PNG = Buffer.from("89504e470d0a1a0a00", "hex");

export function describeChatFiles(edgeOf: () => Edge, provider: ProviderServer): void {
  const upload = async (name: string, type: string, bytes: string | Uint8Array<ArrayBuffer>) => {
    const answer = await fetch(`${edgeOf().base}/api/v2/uploads?tenant_id=acme&name=${name}`, {
      method: "POST",
      headers: { authorization: `Bearer ${edgeOf().platformKey}`, "content-type": type },
      body: bytes,
    });
    return z.object({ id: z.string() }).parse(await answer.json()).id;
  };
  const sessionOf = async (id: string) =>
    Session.parse(await (await edgeOf().call("GET", `/api/v2/chat/${id}/status`)).json());
  const say = async (body: Record<string, unknown>) => {
    const agent = { name: "Reader", system_prompt: "", model: "openai-compatible/m1", tools: [] };
    await edgeOf().call("PUT", "/api/v2/agents/reader", { body: agent });
    const answer = await edgeOf().call("POST", "/api/v2/chat", { body: { tenant_id: "acme", ...body } });
    expect([answer.status, answer.status === 202 || (await answer.text())]).toEqual([202, true]);
    const turn = Turn.parse(await answer.json());
    await vi.waitFor(
      async () => expect((await sessionOf(turn.session_id)).status).toMatch(/completed|failed/),
      { timeout: 100_000, interval: 100 },
    );
    return turn;
  };
  const sent = () => provider.requests.at(-1)?.body.messages;

  describe("the files of a chat message", () => {
    // Fails when the worker does not read them, or reads others; or the history has no reference that opens.
    test("reach its model as text and images; the history has references that open, and later turns name them", async () => {
      provider.reset((response) => response.end(text("Read.")));
      const notes = await upload("notes.txt", "text/plain", "äöü");
      const image = await upload("a.png", "image/png", new Uint8Array(PNG));
      const attachments = [{ upload_id: notes }, { upload_id: image }];
      const { session_id } = await say({ agent: "reader", message: "what is it?", attachments });
      const uri = `data:image/png;base64,${PNG.toString("base64")}`;
      const said =
        `what is it?\n\n## Attached file "notes.txt" (text/plain, ${notes})\näöü\n\n` +
        `## Attached file "a.png" (image/png, ${image})\n[an image of this message]`;
      expect(sent()).toEqual([
        {
          role: "user",
          content: [
            { type: "text", text: said },
            { type: "image_url", image_url: { url: uri } },
          ],
        },
      ]);
      const { messages } = await sessionOf(session_id);
      const opened = messages[0]?.attachments.map(async ({ url }) =>
        (await edgeOf().call("GET", url)).text(),
      );
      expect((await Promise.all(opened ?? []))[0]).toBe("äöü");
      expect(messages.map((message) => message.attachments.length)).toEqual([2, 0]);

      await say({ session_id, message: "sure?" });
      expect(sent()?.[0]).toEqual({
        role: "user",
        content:
          `what is it?\n[with the file "notes.txt" (text/plain, ${notes}), not shown again]\n` +
          `[with the file "a.png" (image/png, ${image}), not shown again]`,
      });
    });

    test("that are not what their type says fail the turn, and the model is not called", async () => {
      provider.reset((response) => response.end(text("Read.")));
      for (const [type, code] of [
        ["text/plain", "file_not_text"],
        ["image/png", "file_not_image"],
      ] as const) {
        const upload_id = await upload("odd", type, new Uint8Array([0xff, 0xfe, 0xfd]));
        const turn = await say({ agent: "reader", message: "", attachments: [{ upload_id }] });
        expect(await sessionOf(turn.session_id)).toMatchObject({ status: "failed", error: { code } });
      }
      expect(provider.requests).toEqual([]);
    });
  });
}
