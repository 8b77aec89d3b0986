import { isObject, objectOf } from "../../shared/contracts/json.ts";
import { percentDecoded } from "../../shared/http/percent-decoded.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/**
 * A place in the arguments of a tool, with the schemas that apply to its values. The values of a place share what was found about it: a
 * list may have a hundred thousand items, and its schema a thousand alternatives.
 */
export class Place {
  readonly #schemas: readonly JsonObject[];
  readonly #root: JsonObject;
  /** The places of single schemas: a schema that refers to itself has one for each of its parts, however deep the arguments are. */
  readonly #known: Map<JsonObject, Place>;
  readonly #properties = new Map<string, Json[]>();
  readonly #ofProperties = new Map<string, Place>();
  readonly #ofItems = new Map<number, Place>();
  readonly #prefixItems: number;
  #others: Place | null = null;

  constructor(schemas: readonly Json[], root: JsonObject, known = new Map<JsonObject, Place>()) {
    const seen = new Set<JsonObject>();
    for (const schema of schemas) addApplied(schema, root, seen);
    this.#schemas = [...seen];
    this.#root = root;
    this.#known = known;
    for (const { properties = null } of this.#schemas) {
      for (const [name, schema] of Object.entries(objectOf(properties))) {
        const declared = this.#properties.get(name);
        if (declared === undefined) this.#properties.set(name, [schema]);
        else declared.push(schema);
      }
    }
    this.#prefixItems = this.#schemas.reduce((most, schema) => Math.max(most, prefixOf(schema).length), 0);
  }

  /** The place of a property that one of the schemas declares; null: none does. */
  property(name: string): Place | null {
    const declared = this.#properties.get(name);
    if (declared === undefined) return null;
    const place = this.#ofProperties.get(name) ?? this.#inner(declared);
    this.#ofProperties.set(name, place);
    return place;
  }

  /** The place of all other properties. */
  get others(): Place {
    this.#others ??= this.#inner(
      this.#schemas.map(({ additionalProperties = null }) => additionalProperties),
    );
    return this.#others;
  }

  item(index: number): Place {
    const at = Math.min(index, this.#prefixItems);
    const schemas = () => this.#schemas.map((schema) => prefixOf(schema)[at] ?? schema["items"] ?? null);
    const place = this.#ofItems.get(at) ?? this.#inner(schemas());
    this.#ofItems.set(at, place);
    return place;
  }

  #inner(all: readonly Json[]): Place {
    const schemas = all.filter(isObject);
    const [first, ...more] = schemas;
    if (first === undefined || more.length > 0) return new Place(schemas, this.#root, this.#known);
    const place = this.#known.get(first) ?? new Place([first], this.#root, this.#known);
    this.#known.set(first, place);
    return place;
  }
}

/** Adds the schema with those that apply to the same value: what it refers to, and its alternatives. `seen` ends a circle of references. */
function addApplied(schema: Json, root: JsonObject, seen: Set<JsonObject>): void {
  if (!isObject(schema) || seen.has(schema)) return;
  seen.add(schema);
  const { $ref, then = null, else: otherwise = null } = schema;
  const local = typeof $ref === "string" ? /^#\/(\$defs|definitions)\/([^/]+)$/.exec($ref) : null;
  const [, table = "", name = ""] = local ?? [];
  const definition = objectOf(root[table])[percentDecoded(name) ?? name] ?? null;
  const lists = ["allOf", "anyOf", "oneOf"].flatMap((keyword) => schema[keyword] ?? []);
  for (const other of [definition, then, otherwise, ...lists]) addApplied(other, root, seen);
}

function prefixOf({ prefixItems }: JsonObject): readonly Json[] {
  return Array.isArray(prefixItems) ? prefixItems : [];
}
