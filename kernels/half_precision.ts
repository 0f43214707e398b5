/**
 * Mixed precision: what has pixels is kept in float16, half the bytes, and everything is computed in float32.
 *
 * Weights, statistics, sums, the loss and what has one vector an image stay in float32, as under PyTorch's autocast.
 * Kernels are written for float32; what declares, reads and writes a float16 tensor in their WGSL is rewritten.
 */
import type { Dispatch, Node, Tensor } from "./graph.ts";
import { rewriteUses } from "./rewrite.ts";

/** Whether a tensor is a map of pixels, n h w c with more than one pixel, and not what others read outside the graph. */
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
  return nodes.map((node) => ({
    ...node,
    outputs: node.outputs.map((output) => {
      if (kept.has(output.id) || !isMap(output)) return output;
      const half: Tensor = { ...output, dtype: "f16" };
      halves.set(output.id, half);
      return half;
    }),
    inputs: node.inputs.map((input) => halves.get(input.id) ?? input),
  }));
}

/** The same dispatch, with its float16 tensors declared, read and written as such. */
export function readAndWriteHalf(dispatch: Dispatch): Dispatch {
  let { source } = dispatch;
  for (const [i, binding] of dispatch.bindings.entries()) {
    if ("texture" in binding || binding.dtype !== "f16") continue;
    const declaration = new RegExp(
      `(@group\\(0\\) @binding\\(${i + 1}\\) var<storage, \\w+> (\\w+): array<)vec4<f32>>;`,
    );
    const name = declaration.exec(source)?.[2];
    if (name === undefined) {
      throw new Error(`${dispatch.label}: binding ${i + 1} is no array of vec4<f32> that could be float16`);
    }
    source = rewriteUses(
      source.replace(declaration, "$1vec4<f16>>;"),
      name,
      (index) => `vec4<f32>(${name}[${index}])`,
      (index, value) => `${name}[${index}] = vec4<f16>(${value});`,
    );
  }
  return source === dispatch.source ? dispatch : { ...dispatch, source: `enable f16;\n${source}` };
}
