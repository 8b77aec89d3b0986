import { expect, test } from "vitest";
import { aProvider } from "./model-run.ts";
import { an, go, oa, oc, whole } from "./provider-server.ts";

const { server } = aProvider();
const data = Buffer.from("png").toString("base64");
const uri = `data:image/png;base64,${data}`;

// Fails when images are sent as text, not at all, or in a form that the provider does not know.
test.each([
  [oc, { type: "image_url", image_url: { url: uri } }],
  [oa, { type: "image_url", image_url: { url: uri } }],
  [an, { type: "image", source: { type: "base64", media_type: "image/png", data } }],
  [go, { inlineData: { mimeType: "image/png", data } }],
])("%s gets an image after the text of its message", async (model, part) => {
  server.reset(whole(model, "a picture"));
  const answer = await server.models().generate({
    model,
    messages: [{ role: "user", content: "what is it?", images: [uri] }],
    tools: [],
    toolChoice: "auto",
    effectKey: "k",
    signal: new AbortController().signal,
    onText: () => {},
  });
  expect(answer.text).toBe("a picture");
  const sent = JSON.stringify(server.requests[0]?.body);
  expect(sent).toContain(JSON.stringify(part));
  expect(sent.indexOf("what is it?")).toBeLessThan(sent.indexOf(data));
});
