/** Names as files and programs have them. */

/** `distillT` -> `distill_t`, as the original's config.json has it. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Fields with a value for each group of layers, whose names are an encoder's own. */
const BY_GROUP: readonly string[] = ["gradient_norms", "weight_norms"];

/** A value for JSON with all names of fields in it so; numbers that are not finite are `null`, as JSON has them. */
export function withSnakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withSnakeCase);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, part]) => {
      const field = snakeCase(name);
      return [field, BY_GROUP.includes(field) ? part : withSnakeCase(part)];
    }),
  );
}
