import { expect, test } from "vitest";
import { fileReference } from "../../../shared/contracts/artifact.ts";
import { writeArtifact } from "../../../worker-node/engine/artifact-tools.ts";
import { refusingFiles } from "../fakes.ts";

const bytes = Buffer.from("~~~ \u00ff\u00fe?");
const base64 = bytes.toString("base64");

async function written(content_base64: string): Promise<Buffer> {
  const stored: Uint8Array[] = [];
  const write: typeof refusingFiles.write = async (file, content) => {
    for await (const part of content instanceof Uint8Array ? [content] : content) stored.push(part);
    return fileReference("acme/run/s/1.1/file.00000000.a", { ...file, bytes: 0, sha256: "0".repeat(64) });
  };
  await writeArtifact({ name: "a", content_base64 }, { files: { ...refusingFiles, write } });
  return Buffer.concat(stored);
}

// GitHub's API has line breaks in base64, and models write data URLs. Fails when such a file is refused, or has other bytes.
test.each([
  ["in one line", base64],
  ["in lines", `${base64.slice(0, 4)}\n${base64.slice(4)}\r\n`],
  ["as a data URL", `data:image/png;base64,${base64}`],
])("artifact_write takes base64 %s", async (_, text) => {
  expect(await written(text)).toEqual(bytes);
});

// Fails when a text that is not base64 is stored as other bytes.
test.each(["hello world!", "hello worlds", "a", "data:text/plain,hello", "abc=def="])(
  "artifact_write refuses a content_base64 that is not base64: %j",
  async (text) => {
    await expect(written(text)).rejects.toMatchObject({ name: "ToolRejection" });
  },
);

test("artifact_write stores an empty file", async () => {
  expect(await written("")).toHaveLength(0);
});
