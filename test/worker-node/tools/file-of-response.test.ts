import { expect, test } from "vitest";
import { fileOf } from "../../../worker-node/tools/file-of-response.ts";

/** A header as Node reads it: each byte is a letter. */
const asRead = (text: string): string => Buffer.from(text).toString("latin1");

// Fails when a name of RFC 6266 is cut at a mark inside of it, or has other letters than the server wrote.
test.each([
  ["attachment; filename=report.csv", "report.csv"],
  ["attachment; filename=the report.csv ; size=7", "the report.csv"],
  ['attachment; filename="a; b \\"c\\".csv"', 'a; b "c".csv'],
  ["attachment; filename=\"M_rz.pdf\"; filename*=UTF-8''M%C3%A4rz.pdf", "März.pdf"],
  ["attachment; filename*=utf-8'de'M%C3%A4rz.pdf", "März.pdf"],
  [asRead('attachment; filename="März.pdf"'), "März.pdf"],
  ['attachment; filename="M\xe4rz.pdf"', "März.pdf"],
  // What is no name of a file: the URL has one.
  ['attachment; filename="../x"', "of the url.txt"],
  ["attachment; filename*=UTF-8''%E4", "of the url.txt"],
  ["inline", "of the url.txt"],
])("the file of a response with Content-Disposition %j has the name %s", (disposition, name) => {
  const url = new URL("https://example.com/a/of%20the%20url.txt?x=1");
  const headers = { "content-disposition": disposition, "content-type": "text/plain" };
  expect(fileOf({ name: "t" }, url, headers)).toEqual({ name, content_type: "text/plain" });
});
