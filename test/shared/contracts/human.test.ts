import { expect, test } from "vitest";
import { HumanField, answerErrors, withDefaults } from "../../../shared/contracts/definition/human.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const field = (fields: object) => HumanField.parse({ key: "k", ...fields });
const select = { type: "select", options: ["approve", "reject"] };

// Fails when a type is not checked, or an absent value counts as wrong.
test.each([
  [{}, "text", null],
  [{}, 1, "must be text"],
  [{ type: "textarea" }, { a: 1 }, "must be text"],
  [{ type: "number" }, 1.5, null],
  [{ type: "number" }, "1.5", "must be a number"],
  [{ type: "number" }, "9007199254740993", "must be a number up to 2^53, beyond which digits are lost"],
  [
    { type: "integer" },
    "-9007199254740993",
    "must be a whole number up to 2^53, beyond which digits are lost",
  ],
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
  [{ type: "multiselect", options: ["a", "b"] }, [], null],
  [{ type: "multiselect", options: ["a", "b"], required: true }, ["b"], null],
  [{ type: "multiselect", options: ["a", "b"], required: true }, [], "is required"],
  [{ type: "multiselect", options: ["a", "b"], min: 2 }, ["b"], "must be at least 2 options"],
  [{ type: "multiselect", options: ["a", "b"], max: 1 }, ["a", "b"], "must be at most 1 options"],
  [{ type: "multiselect", options: ["a", "b"], min: 1, max: 2 }, ["a", "b"], null],
  [{ type: "number", min: 1, max: 5 }, 5, null],
  [{ type: "number", min: 1 }, 0.5, "must be at least 1"],
  [{ type: "integer", max: 5 }, 6, "must be at most 5"],
  [{ min: 2 }, "a", "must be at least 2 characters"],
  [{ type: "textarea", max: 3 }, "four", "must be at most 3 characters"],
  [{ type: "email" }, "ann@example.com", null],
  [{ type: "email" }, "ann", "must be an email address"],
  [{ type: "url" }, "https://example.com/a", null],
  [{ type: "url" }, "javascript:alert(1)", "must be an http or https URL"],
  [{ type: "uri" }, "mailto:ann@example.com", null],
  [{ type: "uri" }, "urn:isbn:0451450523", null],
  [{ type: "uri" }, "ann", "must be a URI with its scheme, such as mailto:ann@example.com"],
  [{ type: "date" }, "2026-06-04", null],
  [{ type: "date" }, "2026-13-04", "must be a date such as 2026-06-04"],
  [{ type: "datetime" }, "2026-06-04T09:15", null],
  [{ type: "datetime" }, "2026-06-04T09:15:30+02:00", null],
  [{ type: "datetime" }, "today", "must be a time such as 2026-06-04T09:15:30Z"],
])("the field %j with the value %j has the error %s", (fields, value, message) => {
  const answer = value === undefined ? {} : { k: value };
  expect(answerErrors([field(fields)], answer)).toEqual(
    message === null ? [] : [{ path: "response.k", message }],
  );
});

const form = [field({ key: "approve", type: "boolean" }), field({ key: "note" })];

// Fails when the answer under a misspelt name is stored as if nobody had answered the field.
test.each([
  [{ aprove: true }, "aprove", "approve"],
  [{ Approve: true, note: "x" }, "Approve", "approve"],
  [{ approve: true, nite: "x" }, "nite", "note"],
])("a value under a misspelt name of a field is refused: %j", (answer, name, meant) => {
  expect(answerErrors(form, answer)).toEqual([
    { path: `response.${name}`, message: `is no field of the form: did you mean "${meant}"?` },
  ]);
});

// Fails when a default hides the misspelt name: the default would count, and the value that was sent would not.
test("a value under a misspelt name of a field that has a default is refused", () => {
  const fields = [field({ key: "approve", type: "boolean", required: true, default: true })];
  expect(answerErrors(fields, { aprove: false })).toMatchObject([{ path: "response.aprove" }]);
  expect(answerErrors(fields, {})).toEqual([]);
});

// Fails when a value of its own right is taken for a misspelling of a field that the person leaves out.
test.each([
  ["line2", "line3"],
  ["item_1", "item_10"],
  ["rate", "date"],
  ["revision", "decision"],
])("the form's %s and another value's name %s are two names", (key, sent) => {
  expect(answerErrors([field({ key })], { [sent]: "x" })).toEqual([]);
});

test("a value that no field names is accepted, also one that is spelled like a field that is answered", () => {
  const notes = { approve: true, note: "x" };
  for (const more of [{}, { aprove: true, nite: "y" }, { at: 1, no: 2, comment: "z" }])
    expect(answerErrors(form, { ...notes, ...more })).toEqual([]);
  expect(answerErrors(form, { app: true, notes_of_ann: "x", decision: "approve" })).toEqual([]);
});

test("the names of a hundred thousand values are compared in no time", () => {
  const fields = Array.from({ length: 100 }, (_, i) => field({ key: `a_long_name_of_a_field_${i}` }));
  const answer = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`another_long_name_${i}`, 1]));
  const startedAt = cpuMs();
  answerErrors(fields, answer);
  expect(cpuMs() - startedAt).toBeLessThan(1_000);
});

// Fails when a default replaces a value that was sent, also false and 0.
test("an answer has the defaults of the fields that it leaves out", () => {
  const fields = [
    field({ key: "a", type: "number", default: 5 }),
    field({ key: "b", type: "boolean", default: true }),
  ];
  expect(withDefaults(fields, {})).toEqual({ a: 5, b: true });
  expect(withDefaults(fields, { a: 0, b: false, c: 1 })).toEqual({ a: 0, b: false, c: 1 });
  expect(withDefaults(fields, { a: null })).toEqual({ a: 5, b: true });
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

// Fails when a form of a hundred fields takes seconds of the edge's time.
test("the texts and the patterns of a form together have a bound", () => {
  const long = (key: string) => HumanField.parse({ key, type: "text", pattern: "a*".repeat(100) });
  const fields = Array.from({ length: 3 }, (_, i) => long(`f${i}`));
  const text = "a".repeat(10_000);
  expect(answerErrors(fields, { f0: text, f1: text })).toEqual([]);
  expect(answerErrors(fields, { f0: text, f1: text, f2: text })).toEqual([
    { path: "response", message: expect.stringContaining("more text than can be compared") },
  ]);
});
