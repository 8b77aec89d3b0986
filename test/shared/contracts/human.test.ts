import { expect, test } from "vitest";
import { HumanField, answerErrors } from "../../../shared/contracts/definition/human.ts";

const field = (fields: object) => HumanField.parse({ key: "k", ...fields });
const select = { type: "select", options: ["approve", "reject"] };

// Fails when a type is not checked, or an absent value counts as wrong.
test.each([
  [{}, "text", null],
  [{}, 1, "must be text"],
  [{ type: "textarea" }, { a: 1 }, "must be text"],
  [{ type: "number" }, 1.5, null],
  [{ type: "number" }, "1.5", "must be a number"],
  [{ type: "integer" }, 3, null],
  [{ type: "integer" }, 1.5, "must be a whole number"],
  [{ type: "boolean" }, false, null],
  [{ type: "checkbox" }, "yes", "must be true or false"],
  [select, "approve", null],
  [select, "Approve", "must be one of approve, reject"],
  [select, ["approve"], "must be one of approve, reject"],
  [{ type: "select" }, "anything", null],
  [{ type: "date" }, 5, "must be text"],
  [{ type: "files" }, [{ name: "a" }], null],
  [select, null, null],
  [{ ...select, required: true }, "", "is required"],
  [{ required: true }, undefined, "is required"],
])("the field %j with the value %j has the error %s", (fields, value, message) => {
  const answer = value === undefined ? {} : { k: value };
  expect(answerErrors([field(fields)], answer)).toEqual(
    message === null ? [] : [{ path: "response.k", message }],
  );
});

test("values that no field names are accepted, and inherited properties are no answers", () => {
  expect(answerErrors([], { anything: 1 })).toEqual([]);
  expect(answerErrors([field({ key: "toString", required: true })], {})).toEqual([
    { path: "response.toString", message: "is required" },
  ]);
});

test("a stored field is parsed to the same field", () => {
  const stored = field({ key: null, name: "n", ...select, required: null });
  expect(HumanField.parse(JSON.parse(JSON.stringify(stored)))).toEqual(stored);
});
