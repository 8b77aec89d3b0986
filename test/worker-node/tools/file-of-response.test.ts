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

// Fails when a text in UTF-8 is no text for templates and models, because its server writes the charset in quotation marks.
test.each([
  ['text/csv; charset="utf-8"', "text/csv; charset=utf-8"],
  ["text/csv;charset=UTF-8;", "text/csv; charset=UTF-8"],
  ['application/pdf; name="a; b.pdf"; version=1.7', "application/pdf; version=1.7"],
  [" application/ld+json ; Charset=utf-8", "application/ld+json; Charset=utf-8"],
  ["text/html", "text/html"],
  ["nonsense", "application/octet-stream"],
  ["", "application/octet-stream"],
])("the file of a response with Content-Type %j has the type %s", (header, content_type) => {
  const url = new URL("https://example.com/a.txt");
  expect(fileOf({ name: "t" }, url, { "content-type": header })).toEqual({ name: "a.txt", content_type });
});
