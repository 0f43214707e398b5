/**
 * Multi-head attention in one kernel: softmax(q k^T / sqrt(d)) v, with an online softmax (FlashAttention, Dao et al. 2022).
 *
 * No matrix of scores is ever kept: forwards, four scores of each of some queries exist at a time, and backwards they are
 * computed again. Memory grows with the tokens, not with their square. All sums are over one index, in a fixed order.
 */
import {
  elementCount,
  expectShape,
  type Lowering,
  type Node,
  type Op,
  padTo4,
  type Tensor,
} from "../../graph.ts";
import { f32, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../wgsl.ts";
import {
  type AttentionFamily,
  type AttentionShape,
  forwardSource,
  keyGradientSource,
  queryGradientSource,
  rotateSource,
} from "./generator.ts";

/** Attributes of {@linkcode attention}. */
export interface AttentionAttributes {
  /** Heads that the width is split into. */
  heads: number;
  /** Whether queries and keys are rotated by tables, which are given after qkv. Default: false. */
  rope?: boolean;
}

/**
 * Numbers that an invocation holds of one operand at most, all its own rows together: more rows share what is loaded. On llvmpipe
 * with heads of 64 numbers two rows run 1.4 times as fast as one where each lane loads by itself; where lanes share what they
 * load, one is the fastest. On GPUs the numbers are registers.
 */
const NUMBERS: Readonly<Record<AttentionFamily, number>> = { direct: 128, shared: 64, staged: 64 };

/** Invocations of a workgroup of the staged family. */
const STAGED_LANES = 64;

/** Own rows of an invocation at most: the text grows with them, and the time that it compiles. */
const MOST_ROWS = 4;

/** Dispatches one of the three kernels. */
function dispatchAttention(
  lowering: Lowering,
  label: string,
  source: (shape: AttentionShape) => string,
  qkv: Tensor,
  { heads, rope = false }: AttentionAttributes,
  bindings: readonly Tensor[],
  products: number,
): void {
  const [batch, tokens, , triple] = qkv.shape;
  const headWidth = triple / 3 / heads;
  const { isSoftware, hasSubgroups, vectorLanes } = lowering.target;
  const family = hasSubgroups ? "shared" : isSoftware ? "direct" : "staged";
  const lanes = family === "staged" ? STAGED_LANES : vectorLanes;
  const rows = Math.max(1, Math.min(MOST_ROWS, tokens, Math.floor(NUMBERS[family] / headWidth)));
  const shape = { headVec4s: headWidth / 4, rows, family, lanes, rope } as const;
  const blocks = Math.ceil(tokens / shape.rows);
  lowering.dispatch({
    label,
    source: source(shape),
    bindings,
    uniforms: paramsOf(qkv, heads, blocks, rope && isSoftware),
    workgroups: family === "direct"
      ? linearWorkgroups(batch * heads * blocks, LINEAR_SIZE)
      : [Math.ceil(blocks / lanes), batch * heads, 1],
    flops: 2 * products * batch * heads * tokens * tokens * headWidth,
  });
}

function paramsOf(
  { shape: [batch, tokens, , triple] }: Tensor,
  heads: number,
  blocks: number,
  isRotated: boolean,
) {
  const width = triple / 12;
  const scale = 1 / Math.sqrt(triple / 3 / heads);
  const qkRow = isRotated ? 2 * width : 3 * width;
  return uniforms(
    ...[batch, tokens, heads, blocks, 3 * width, qkRow, width, padTo4(tokens)],
    f32(scale),
    f32(scale * Math.LOG2E),
  );
}

/**
 * What the kernels read of qkv and the angles. On software adapters an invocation loads keys for itself, each many times in
 * all: there they are rotated ahead, once. On GPUs a workgroup rotates what it stages.
 */
function operandsOf(
  lowering: Lowering,
  { inputs }: Node,
  { heads, rope = false }: AttentionAttributes,
): Tensor[] {
  const [qkv, cosines, sines] = inputs;
  if (!rope) return [qkv];
  if (!lowering.target.isSoftware) return [qkv, cosines, sines];
  const [batch, tokens, , triple] = qkv.shape;
  const rotated = lowering.scratch(
    { shape: [batch, tokens, 1, triple / 3 * 2], dtype: qkv.dtype },
    "rotated queries and keys",
  );
  lowering.dispatch({
    label: "attention rotate",
    source: rotateSource(triple / 12 / heads),
    bindings: [qkv, cosines, sines, rotated],
    uniforms: paramsOf(qkv, heads, 1, true),
    workgroups: linearWorkgroups(elementCount(rotated.shape) / 4, LINEAR_SIZE),
  });
  return [qkv, rotated];
}

/**
 * qkv [n, t, 1, 3 width] -> y [n, t, 1, width]: a token's queries, keys and values, each split into heads of d = width / heads
 * numbers, d a multiple of four; and the logarithm of the sum of exponentials of each query's scores [n, heads, t], which the
 * gradient reads. It stays float32 in mixed precision.
 *
 * With `rope`, two tables [t, d] follow qkv, cosines and sines of rotary embedding (`models/rotary_embedding.ts`): queries
 * and keys x become x cos + (-second half of x, first half of x) sin, d a multiple of eight. Rows of cosine 1 and sine 0 leave
 * a token as it is. The tables are constants: they get no gradient.
 */
export const attention: Op<AttentionAttributes> = {
  name: "attention",

  shape(inputs, { heads, rope = false }) {
    const [qkv, ...tables] = inputs;
    const [batch, tokens, column, triple] = qkv.shape;
    const headWidth = triple / 3 / heads;
    expectShape(
      "attention",
      qkv.shape.length === 4 && column === 1 && Number.isInteger(headWidth / 4),
      `qkv [n, tokens, 1, 3 * ${heads} heads * d], d a multiple of 4`,
      qkv,
    );
    const fits = rope
      ? tables.length === 2 && headWidth % 8 === 0 &&
        tables.every(({ shape }) => shape.length === 2 && shape[0] === tokens && shape[1] === headWidth)
      : tables.length === 0;
    expectShape(
      "attention",
      fits,
      rope ? "qkv, cosines and sines [tokens, d], d a multiple of 8" : "qkv alone without `rope`",
      ...inputs,
    );
    return [{ shape: [batch, tokens, 1, triple / 3] }, { shape: [batch, heads, tokens] }];
  },

  gradient(graph, node, [dy, dlse], needed) {
    if (dlse !== undefined) throw new Error("attention: the sum of exponentials has no gradient");
    const [qkv, ...tables] = node.inputs;
    if (needed[1] || needed[2]) {
      throw new Error("attention: the tables of cosines and sines have no gradient");
    }
    const inputs = [qkv, ...tables, dy!, ...node.outputs];
    const dqkv = graph.apply(attentionGradient, inputs, node.attributes as AttentionAttributes);
    return [dqkv, ...tables.map(() => undefined)];
  },

  lower(lowering, node, attributes) {
    const [qkv] = node.inputs;
    const operands = operandsOf(lowering, node, attributes);
    const bindings = [...operands, ...node.outputs];
    dispatchAttention(lowering, "attention", forwardSource, qkv, attributes, bindings, 2);
  },
};

/** dqkv [n, t, 1, 3 width]. Inputs: qkv, [cosines, sines], dy, y and the logarithm of the sum of exponentials. */
const attentionGradient: Op<AttentionAttributes> = {
  name: "attention_gradient",

  shape: ([qkv]) => [{ shape: qkv.shape }],

  lower(lowering, node, attributes) {
    const [qkv] = node.inputs;
    const [dy, y, lse] = node.inputs.slice(-3);
    const [dqkv] = node.outputs;
    const delta = lowering.scratch({ shape: lse.shape }, "products of y and dy");
    const operands = operandsOf(lowering, node, attributes);
    const tables = operands.length === 2 ? node.inputs.slice(1, 3) : []; // to rotate gradients back
    const of = [...operands, ...tables, dy];
    dispatchAttention(
      lowering,
      "attention_gradient queries",
      queryGradientSource,
      qkv,
      attributes,
      [...of, y, lse, dqkv, delta],
      3,
    );
    dispatchAttention(
      lowering,
      "attention_gradient keys and values",
      keyGradientSource,
      qkv,
      attributes,
      [...of, lse, delta, dqkv],
      4,
    );
  },
};
