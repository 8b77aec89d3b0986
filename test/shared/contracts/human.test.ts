import { expect, test } from "vitest";
import { HumanField, answerErrors } from "../../../shared/contracts/definition/human.ts";

const field = (fields: object) => HumanField.parse({ key: "k", ...fields });
const select = { type: "select", options: ["approve", "reject"] };

// Red when: one of the types is not looked at, or what is absent is taken for wrong.
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
])("a field %j takes %j: %s", (fields, value, message) => {
  const answer = value === undefined ? {} : { k: value };
  expect(answerErrors([field(fields)], answer)).toEqual(
    message === null ? [] : [{ path: "response.k", message }],
  );
});

test("what no field names is let through, and names of objects are no answers", () => {
  expect(answerErrors([], { anything: 1 })).toEqual([]);
  expect(answerErrors([field({ key: "toString", required: true })], {})).toEqual([
    { path: "response.toString", message: "is required" },
  ]);
});

test("a field that was stored is read as it was", () => {
  const stored = field({ key: null, name: "n", ...select, required: null });
  expect(HumanField.parse(JSON.parse(JSON.stringify(stored)))).toEqual(stored);
});
