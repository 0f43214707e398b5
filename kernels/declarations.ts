/**
 * How the WGSL of a dispatch declares and uses its storage buffers. Kernels are rewritten for adapters on which textures
 * are faster and for float16; both need every buffer declared, and used, in the one form that is checked here.
 */
import type { Dispatch, Tensor } from "./graph.ts";
import { storage } from "./wgsl.ts";

/** A storage buffer as the WGSL declares it. */
export interface Declaration {
  /** The number of `@binding`, from 1 on. */
  binding: number;
  /** The variable. */
  name: string;
  access: "read" | "read_write";
  /** Type of the array's elements: `vec4<f32>`, `u32`. */
  element: string;
  /** The declaration itself, with its semicolon. */
  text: string;
}

/** A dispatch whose WGSL has been checked: without comments, and with what it declares. */
export interface DeclaredDispatch extends Dispatch {
  /** In the order of {@linkcode Dispatch.bindings}. */
  declarations: readonly Declaration[];
  /** Invocations of a workgroup. */
  lanes: number;
}

/** Element type of what most tensors are declared as. */
export const VEC4 = "vec4<f32>";

/** Element types that a tensor may be declared with. */
const ELEMENTS: Readonly<Record<Tensor["dtype"], readonly string[]>> = {
  f32: [VEC4, "f32", "vec4<u32>", "u32"], // the last two for its bits
  f16: [VEC4],
  u32: ["u32", "i32", "vec4<u32>", "atomic<u32>"],
};

/** Any declaration of a storage buffer: its attributes, access, name and type. */
const ANY_DECLARATION =
  /((?:@\s*\w+\s*(?:\([^)]*\))?\s*)*)var\s*<\s*storage\s*(?:,\s*(\w+)\s*,?\s*)?>\s*(\w+)\s*:\s*([^;]*);/g;

/** The text with blanks in the place of comments. Comments between slash and star may be nested. */
export function withoutComments(source: string): string {
  let text = "";
  let depth = 0;
  let done = 0;
  const marks = /\/\/[^\n]*|\/\*|\*\//g;
  for (let match = marks.exec(source); match !== null; match = marks.exec(source)) {
    const [mark] = match;
    if (depth === 0) text += source.slice(done, match.index) + (mark === "*/" ? mark : " ");
    if (mark === "/*") depth++;
    else if (depth === 0) done = marks.lastIndex;
    else if (mark === "*/") {
      depth--;
      done = marks.lastIndex;
    } else marks.lastIndex = match.index + 2; // within a comment two slashes mean nothing
  }
  return depth === 0 ? text + source.slice(done) : text;
}

/** WGSL has shorter names for some types: `vec4f` is `vec4<f32>`. */
function spelledOut(type: string): string {
  const names = { f: "f32", u: "u32", i: "i32", h: "f16" };
  return type.replaceAll(/\s/g, "").replaceAll(
    /\bvec([234])([fuih])\b/g,
    (_, length, element) => `vec${length}<${names[element as keyof typeof names]}>`,
  );
}

/**
 * Reads what a dispatch declares, and checks that it is what the dispatch binds.
 *
 * @param op name of the op, for errors
 * @throws {Error} that names the op, the binding and what to write, where a buffer is not declared or used in the form
 * that the rewriting for textures and float16 knows, or with a type that its tensor does not have
 */
export function readDeclarations(op: string, dispatch: Dispatch): DeclaredDispatch {
  const where = dispatch.label === op ? `op ${op}` : `op ${op}, kernel ${dispatch.label}`;
  const source = withoutComments(dispatch.source);
  const found = new Map<number, Declaration>();
  for (const [whole, attributes, access = "read", name, type] of source.matchAll(ANY_DECLARATION)) {
    const text = whole.trim();
    const number = /@\s*binding\s*\(\s*(\d+)\s*[ui]?\s*,?\s*\)/.exec(attributes)?.[1];
    if (number === undefined) {
      throw new Error(
        `${where}: \`${text}\` has no @binding with a number; write @binding(1), @binding(2), ...`,
      );
    }
    const binding = Number(number);
    const tensor = dispatch.bindings[binding - 1];
    if (tensor === undefined || "texture" in tensor) {
      throw new Error(
        `${where}: the WGSL declares \`${name}\` as binding ${binding}, but the dispatch has ` +
          `${dispatch.bindings.length} \`bindings\`, and the first of them is binding 1`,
      );
    }
    if (access !== "read" && access !== "read_write") {
      throw new Error(
        `${where}: binding ${binding} \`${name}\` has the access ${access}; write read or read_write`,
      );
    }
    const element = /^array<(.*)>$/.exec(spelledOut(type))?.[1] ?? type.trim();
    const elements = ELEMENTS[tensor.dtype];
    const fitting = elements.includes(element) ? element : elements[0];
    const expected = storage(binding, name, access, fitting).trim();
    if (text !== expected) {
      throw new Error(
        `${where}: binding ${binding} \`${name}\` is declared as \`${
          text.replaceAll(/\s+/g, " ")
        }\`, which is not the ` +
          `form that is found again for textures and float16; write \`${expected}\``,
      );
    }
    if (found.has(binding)) {
      throw new Error(`${where}: binding ${binding} is declared twice; number them in order`);
    }
    found.set(binding, { binding, name, access, element: fitting, text });
  }
  const declarations = dispatch.bindings.map((tensor, i) => {
    const declaration = found.get(i + 1);
    if (declaration === undefined) {
      const label = "texture" in tensor ? tensor.texture.label : tensor.label;
      throw new Error(
        `${where}: the dispatch binds ${label} as binding ${i + 1}, which the WGSL does not declare; write ` +
          `\`${storage(i + 1, "name").trim()}\`, or read_write`,
      );
    }
    return declaration;
  });
  const declared = { ...dispatch, source, declarations, lanes: lanesOf(where, source) };
  refuseAddresses(where, declared);
  return declared;
}

/** Invocations of a workgroup. How much a kernel reads is estimated by them. */
function lanesOf(where: string, source: string): number {
  const [attribute, size] = /@\s*workgroup_size\s*\(([^)]*)\)/.exec(source) ?? [];
  if (size === undefined || !/^\s*\d+\s*(,\s*\d+\s*){0,2}$/.test(size)) {
    throw new Error(
      `${where}: the entry point has ${
        attribute ?? "no @workgroup_size"
      }; write it in numbers, @workgroup_size(64)`,
    );
  }
  return size.split(",").reduce((product, length) => product * Number(length), 1);
}

/** The tensors that a dispatch writes to. */
export function writtenBy({ declarations, bindings }: DeclaredDispatch): Tensor[] {
  return declarations.flatMap(({ binding, access }) => {
    const tensor = bindings[binding - 1];
    return access === "read" || "texture" in tensor ? [] : [tensor];
  });
}

const ADDRESS = /[(,=]\s*&\s*(\w+)/g;

/** Fails where the address of a buffer of vec4s is taken: of a texture, or of a float16, there is none. */
function refuseAddresses(where: string, { source, declarations }: DeclaredDispatch): void {
  for (const { index, 1: name } of source.matchAll(ADDRESS)) {
    const declaration = declarations.find((one) => one.name === name);
    if (declaration?.element !== VEC4) continue;
    const start = source.lastIndexOf("\n", index) + 1;
    const line = source.slice(start).split("\n", 1)[0].trim();
    throw new Error(
      `${where}: the address of binding ${declaration.binding} \`${name}\` is taken in \`${line}\`; index it directly, ` +
        `\`${name}[index]\`, and pass lengths as uniforms`,
    );
  }
}
