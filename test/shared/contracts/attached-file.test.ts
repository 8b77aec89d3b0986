import { expect, test } from "vitest";
import { isTextType } from "../../../shared/contracts/attached-file.ts";

// Fails when a model gets the bytes of a text in another charset as if they were UTF-8.
test.each([
  ["text/plain", true],
  ["text/csv; charset=UTF-8", true],
  ["application/vnd.api+json; charset=us-ascii", true],
  ["text/plain; charset=utf-16", false],
  ["text/plain; charset=iso-8859-1", false],
  ["text/plain;charset=utf-8; charset=windows-1252", false],
  ["application/octet-stream", false],
])("a file of the type %s is text in UTF-8: %s", (type, isText) => {
  expect(isTextType(type)).toBe(isText);
});
