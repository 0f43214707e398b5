/** Gives tensors the names that the authors released them under, see `name_formats.ts`. */
import { NAME_FORMATS, type NameFormat, type NamePart } from "./name_formats.ts";
import { TensorRef } from "./tensor_ref.ts";

/** Tensors under the names of their release. */
export interface ReleaseNames {
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** What the formats are called that the names were of. */
  readonly formats: readonly string[];
}

/** A pattern of names: matches one, or writes one with the same numbers and rest. */
class NamePattern {
  readonly #template: string;
  readonly #expression: RegExp;

  constructor(template: string) {
    this.#template = template;
    const parts = template.split(/([#~*])/).map((part) =>
      part === "#" ? "(\\d+)" : part === "~" ? "\\d+" : part === "*" ? "(.+)" : RegExp.escape(part)
    );
    this.#expression = new RegExp(`^${parts.join("")}$`);
  }

  /** The numbers and the rest of a name; `undefined` where it is of another pattern. */
  match(name: string): readonly string[] | undefined {
    return this.#expression.exec(name)?.slice(1);
  }

  fill(values: readonly string[]): string {
    let at = 0;
    return this.#template.replace(/[#*]/g, () => values[at++]);
  }
}

/** A row of a format's table. */
interface Rule {
  parts: readonly { name: NamePattern; isZeros: boolean }[];
  to: NamePattern | undefined;
}

const RULES = new Map(NAME_FORMATS.map((format) => [format, format.names.map(makeRule)]));

function makeRule([from, to]: NameFormat["names"][number]): Rule {
  const parts: readonly NamePart[] = typeof from === "string" ? [from] : from;
  return {
    parts: parts.map((part) =>
      typeof part === "string"
        ? { name: new NamePattern(part), isZeros: false }
        : { name: new NamePattern(part.zerosLike), isZeros: true }
    ),
    to: to === null ? undefined : new NamePattern(to),
  };
}

/** Gives tensors the names of their release, where they have those of a format that is known; else leaves them as they are. */
export function toReleaseNames(tensors: ReadonlyMap<string, TensorRef>): ReleaseNames {
  const formats: string[] = [];
  let named = tensors;
  for (const format of NAME_FORMATS) {
    if (!isOf(format, named)) continue;
    named = rename(format, named);
    formats.push(format.title);
  }
  return { tensors: named, formats };
}

/** Share of a file's names that a format has to know to be near. */
const NEAR = 0.25;

/** The format that most of some names are of, and how many of them it knows; `undefined` where none knows enough. */
export function nearestFormat(names: readonly string[]): { title: string; known: number } | undefined {
  const counts = NAME_FORMATS.map((format) => {
    // Rules that only drop a part of a name take those of many programs.
    const rules = RULES.get(format)!.filter((_, i) => {
      const [from, to] = format.names[i];
      return to !== "*" && !(typeof from === "string" && from.includes("~"));
    });
    return {
      title: format.title,
      known: names.filter((name) => rules.some((rule) => take(rule, name) !== undefined)).length,
    };
  });
  const best = counts.reduce((a, b) => b.known > a.known ? b : a);
  return best.known < NEAR * names.length ? undefined : best;
}

function isOf({ marks, packed }: NameFormat, tensors: ReadonlyMap<string, TensorRef>): boolean {
  if (!marks.every((mark) => tensors.has(mark))) return false;
  if (packed === undefined) return true;
  return tensors.get(packed.rows)!.shape[0] === 2 * tensors.get(packed.columns)!.shape[1];
}

/** The numbers and the rest of a name that a rule takes; `undefined` where it takes another. */
function take({ parts }: Rule, name: string): readonly string[] | undefined {
  return parts.filter(({ isZeros }) => !isZeros).map((part) => part.name.match(name)).find((found) =>
    found !== undefined
  );
}

function rename(format: NameFormat, tensors: ReadonlyMap<string, TensorRef>): Map<string, TensorRef> {
  const rules = RULES.get(format)!;
  const renamed = new Map<string, TensorRef>();
  for (const [name, tensor] of tensors) {
    const rule = rules.find((candidate) => take(candidate, name) !== undefined);
    if (rule === undefined) {
      renamed.set(name, tensor);
      continue;
    }
    if (rule.to === undefined) continue;
    const values = take(rule, name)!;
    const release = rule.to.fill(values);
    if (renamed.has(release)) continue; // a later part of what is joined
    const joined = rule.parts.length === 1 ? tensor : join(rule, values, tensors);
    renamed.set(joined === undefined ? name : release, joined ?? tensor);
  }
  return renamed;
}

/** What a rule's tensors are as one; `undefined` where one of them is missing. */
function join({ parts }: Rule, values: readonly string[], tensors: ReadonlyMap<string, TensorRef>) {
  const found = parts.map(({ name, isZeros }) => {
    const tensor = tensors.get(name.fill(values));
    return isZeros && tensor !== undefined ? { zeros: tensor.shape } : tensor;
  });
  if (found.some((part) => part === undefined)) return undefined;
  return TensorRef.join(found as Exclude<typeof found[number], undefined>[]);
}
