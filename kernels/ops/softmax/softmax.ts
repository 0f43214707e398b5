/** Softmax of rows and its logarithm, as `torch.softmax` and `torch.log_softmax` over the last dimension. */
import { type Lowering, type Node, type Op, rowsAndVec4s, type Tensor } from "../../graph.ts";
import { CHANNEL_MASK, uniforms } from "../../wgsl.ts";
import rowReduceWgsl from "../../row_reduce.wgsl" with { type: "text" };
import wgsl from "./softmax.wgsl" with { type: "text" };
import gradientWgsl from "./softmax_gradient.wgsl" with { type: "text" };

/** One workgroup a row. */
function lower(lowering: Lowering, node: Node, source: string, isLog: boolean): void {
  const [x] = node.inputs;
  const { rows, vec4s } = rowsAndVec4s(x);
  lowering.dispatch({
    label: node.op.name,
    source: `const IS_LOG = ${isLog};\n${CHANNEL_MASK}${rowReduceWgsl}${source}`,
    bindings: [...node.inputs, node.outputs[0]],
    uniforms: uniforms(vec4s, x.shape.at(-1)!, rows),
    workgroups: [1, rows, 1],
  });
}

function makeSoftmax(name: string, isLog: boolean): Op<Record<never, never>> {
  const shape = ([x]: readonly Tensor[]) => [{ shape: x.shape }];
  const gradientOp: Op<Record<never, never>> = {
    name: `${name}_gradient`,
    shape,
    lower: (lowering, node) => lower(lowering, node, gradientWgsl, isLog),
  };
  return {
    name,
    shape,
    gradient: (graph, node, [dy]) => [graph.apply(gradientOp, [node.outputs[0], dy!], {})],
    lower: (lowering, node) => lower(lowering, node, wgsl, isLog),
  };
}

/** x [..., c] -> exp(x) / sum(exp(x)), the sum over the last dimension. */
export const softmax: Op<Record<never, never>> = makeSoftmax("softmax", false);

/** x [..., c] -> x - log(sum(exp(x))), the sum over the last dimension: exact where the softmax rounds to 0. */
export const logSoftmax: Op<Record<never, never>> = makeSoftmax("log_softmax", true);
