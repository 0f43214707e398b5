/**
 * Mixed precision: what has pixels is kept in float16, half the bytes, and everything is computed in float32.
 *
 * Statistics, sums, the loss and what has one vector an image stay in float32, as under PyTorch's autocast, and so do weights
 * that are trained. Those of a frozen encoder's products are float16 where they come from (`models/inference.ts`).
 * Kernels are written for float32; what declares, reads and writes a float16 tensor in their WGSL is rewritten.
 */
import type { DeclaredDispatch } from "./declarations.ts";
import { isRows, type Node, type Tensor } from "./graph.ts";
import { rewriteUses } from "./rewrite.ts";
import { storage } from "./wgsl.ts";

/** Whether a tensor has the shape of a map of pixels: n h w c with more than one pixel. */
function isMap({ shape, dtype }: Tensor): boolean {
  return dtype === "f32" && shape.length === 4 && shape[1] * shape[2] > 1;
}

/**
 * The same nodes, with every map of pixels that one of them gives kept in float16.
 *
 * @param kept ids of tensors that stay as they are: what the host reads, and what lives in other buffers
 */
export function keepMapsInHalf(nodes: readonly Node[], kept: ReadonlySet<number>): Node[] {
  const halves = new Map<number, Tensor>();
  const exact = new Set<number>(); // what has a map's shape and is none
  return nodes.map((node) => {
    const { keepsFloat32 } = node.op;
    const staysFloat32 = keepsFloat32 === "always" ||
      (keepsFloat32 === "as inputs" && node.inputs.every((input) => exact.has(input.id) || isRows(input)));
    return {
      ...node,
      outputs: node.outputs.map((output) => {
        if (staysFloat32) exact.add(output.id);
        if (staysFloat32 || kept.has(output.id) || !isMap(output)) return output;
        const half: Tensor = { ...output, dtype: "f16" };
        halves.set(output.id, half);
        return half;
      }),
      inputs: node.inputs.map((input) => halves.get(input.id) ?? input),
    };
  });
}

/**
 * The same dispatch, with its float16 tensors declared, read and written as such.
 *
 * @throws {Error} where one is written other than by `name[index] = value;`
 */
export function readAndWriteHalf(dispatch: DeclaredDispatch): DeclaredDispatch {
  let { source } = dispatch;
  for (const { binding, name, access, text } of dispatch.declarations) {
    const tensor = dispatch.bindings[binding - 1];
    if ("texture" in tensor || tensor.dtype !== "f16") continue;
    source = rewriteUses(
      source.replace(text, storage(binding, name, access, "vec4<f16>").trim()),
      name,
      (index) => `vec4<f32>(${name}[${index}])`,
      (index, value) => `${name}[${index}] = vec4<f16>(${value});`,
      (statement) => {
        throw new Error(
          `${dispatch.label}: binding ${binding} \`${name}\` may be float16, but is written by \`${statement}\`; write ` +
            `whole vec4s, \`${name}[index] = value;\``,
        );
      },
    );
  }
  return source === dispatch.source ? dispatch : { ...dispatch, source: `enable f16;\n${source}` };
}
