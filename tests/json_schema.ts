/** Compares values with a JSON Schema, as far as the documentation uses it. */

/** What is used of a JSON Schema. */
export interface JsonSchema {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  minimum?: number;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: false | JsonSchema;
  items?: JsonSchema;
  oneOf?: JsonSchema[];
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
}

const KNOWN = new Set([
  ...["type", "const", "enum", "minimum", "properties", "required", "additionalProperties", "items", "oneOf"],
  ...["$ref", "$defs", "$schema", "title", "description"],
]);

function typeOf(value: unknown): string[] {
  if (value === null) return ["null"];
  if (Array.isArray(value)) return ["array"];
  return Number.isInteger(value) ? ["integer", "number"] : [typeof value];
}

/** Returns what is wrong with a value, nothing where it fits. */
export function findProblems(
  value: unknown,
  schema: JsonSchema,
  root: JsonSchema = schema,
  at = "$",
): string[] {
  for (const keyword of Object.keys(schema)) {
    if (!KNOWN.has(keyword)) throw new Error(`the schema uses ${keyword}, which this does not know`);
  }
  if (schema.$ref !== undefined) {
    const target = root.$defs?.[schema.$ref.replace("#/$defs/", "")];
    if (target === undefined) throw new Error(`the schema has no ${schema.$ref}`);
    return findProblems(value, target, root, at);
  }
  const problems: string[] = [];
  const expect = (holds: boolean, what: string) => {
    if (!holds) problems.push(`${at}: expected ${what}, found ${JSON.stringify(value)}`);
  };
  const { type, enum: choices, minimum, oneOf, items, properties = {}, required = [] } = schema;
  const { additionalProperties: others } = schema;
  if (type !== undefined) expect([type].flat().some((name) => typeOf(value).includes(name)), String(type));
  if ("const" in schema) expect(value === schema.const, JSON.stringify(schema.const));
  if (choices !== undefined) expect(choices.includes(value), `one of ${choices}`);
  if (minimum !== undefined) expect(typeof value === "number" && value >= minimum, `at least ${minimum}`);
  if (oneOf !== undefined) {
    const each = oneOf.map((other) => findProblems(value, other, root, at));
    const fitting = each.filter((found) => found.length === 0).length;
    const closest = each.toSorted((a, b) => a.length - b.length)[0];
    if (fitting !== 1) problems.push(`${at}: fits ${fitting} of the schemas; of one: ${closest.join("; ")}`);
  }
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) {
      if (items !== undefined) problems.push(...findProblems(item, items, root, `${at}[${i}]`));
    }
  } else if (typeof value === "object" && value !== null) {
    for (const name of required) if (!(name in value)) problems.push(`${at}: expected ${name}, found none`);
    for (const [name, part] of Object.entries(value)) {
      const own = name in properties ? properties[name] : others;
      if (own === false) problems.push(`${at}: unexpected ${name}`);
      else if (own !== undefined) problems.push(...findProblems(part, own, root, `${at}.${name}`));
    }
  }
  return problems;
}
