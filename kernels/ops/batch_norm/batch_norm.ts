/**
 * Batch normalisation in training: statistics of the batch, then normalise + residual + activation in one pass, and the
 * same backwards. At inference the statistics are folded into the convolution before it, so there is no op for that.
 *
 * Statistics are [2, c]: the mean and the biased variance of each channel, from partial (mean, sum of squared
 * deviations) pairs that are combined in a fixed order (Chan et al.), so that no large squares cancel.
 *
 * A batch may be split: its images are then normalised in groups, each by statistics of its own, as those of several devices
 * are. The kernels are the same, and run over the images of one group after the other.
 *
 * Or it is a part of one that several devices share, each with as many images: statistics and the sums of the gradient are then
 * those of all devices (`torch.nn.SyncBatchNorm`). Each device's are gathered, and combined as those of its own parts are.
 */
import { UserError } from "../../../errors.ts";
import { expectShape, type Lowering, type Op, rowsAndVec4s, type Tensor } from "../../graph.ts";
import { rowsPerInvocation } from "../../pixel_strips.ts";
import { combineStatistics, cutRows, type RowParts, rowSums, type RowSumText } from "../../row_sums.ts";
import {
  ARE_FINITE,
  f32,
  LINEAR_MAIN,
  LINEAR_SIZE,
  linearWorkgroups,
  storage,
  uniforms,
  WITH_NAN,
} from "../../wgsl.ts";
import { type Activation, activationWgsl, keepsZero } from "../activation/activation.ts";
import { add } from "../add/add.ts";
import { chunkRows } from "../channel_sum/channel_sum.ts";
import { sumPairs, sumPartials } from "../sum_partials/sum_partials.ts";
import applyWgsl from "./batch_norm.wgsl" with { type: "text" };
import gradientInputWgsl from "./batch_norm_gradient_input.wgsl" with { type: "text" };
import gradientSumsWgsl from "./batch_norm_gradient_sums.wgsl" with { type: "text" };
import chunkWgsl from "./batch_statistics_chunk.wgsl" with { type: "text" };
import combineWgsl from "./batch_statistics_combine.wgsl" with { type: "text" };

/** Attributes of {@linkcode batchStatistics}. */
export interface BatchStatisticsAttributes {
  /** Weight of the new batch in the running statistics, as PyTorch's `momentum`: 0.1 usually. */
  momentum?: number;
  /** Groups of images with statistics of their own; one where it is left out. */
  splits?: number;
  /** Devices whose images have statistics together; one where it is left out. */
  devices?: number;
}

/** Fails where a device's groups would be apart from each other and not from those of other devices. */
function refuseSharedGroups(op: string, splits: number, devices: number): void {
  if (splits === 1 || devices === 1) return;
  throw new Error(`${op}: a batch that ${devices} devices share is not split into ${splits} groups too`);
}

/**
 * Fails where statistics would be of one value a channel, as PyTorch does: normalised it is always 0, and nothing before it learns.
 *
 * @throws {UserError}
 */
function requireSeveral({ shape }: Tensor, splits: number, devices: number): void {
  const values = devices * shape.slice(0, -1).reduce((product, length) => product * length) / splits;
  if (values > 1) return;
  throw new UserError(
    `batch norm of [${shape}]: expected more than one value a channel in training, found one. Use a larger --batch-size or ` +
      "--image-size, fewer --bn-splits, or --sync-bn where several ranks share a batch",
  );
}

/** The images of each group, in turn: a part of a tensor's first dimension. */
function groupsOf(lowering: Lowering, tensor: Tensor, splits: number): Tensor[] {
  if (splits === 1) return [tensor];
  const images = tensor.shape[0] / splits;
  return Array.from({ length: splits }, (_, i) => lowering.rows(tensor, i * images, images));
}

/**
 * x [n, h, w, c] -> [2, c] of each group: mean and biased variance over n, h and w. Further inputs, where there are any, are
 * the running mean [c] and the running variance [c], the unbiased one: running = (1 - momentum) running + momentum * batch,
 * with the mean of the groups' statistics.
 */
export const batchStatistics: Op<BatchStatisticsAttributes> = {
  name: "batch_statistics",
  hasEffect: true,

  shape([x, ...running], { momentum, splits = 1, devices = 1 }) {
    refuseSharedGroups("batch_statistics", splits, devices);
    if (x.shape[0] % splits !== 0) {
      throw new Error(`batch_statistics: ${x.shape[0]} images are not ${splits} groups of one size`);
    }
    expectShape(
      "batch_statistics",
      running.length === (momentum === undefined ? 0 : 2),
      "the running mean and variance beside a momentum, and else neither",
      x,
      ...running,
    );
    return Array.from({ length: splits }, () => ({ shape: [2, x.shape.at(-1)!] }));
  },

  // The gradient of the normalisation accounts for its statistics.
  gradient: () => [undefined],

  lower(lowering, node, { momentum = 0, splits = 1, devices = 1 }) {
    const [x, ...running] = node.inputs;
    requireSeveral(x, splits, devices); // not where a network is traced for its sizes alone
    const soFar = splits > 1 && running.length > 0
      ? [lowering.scratch({ shape: [2, x.shape.at(-1)!] }, "running statistics with the groups so far")]
      : [];
    for (const [i, group] of groupsOf(lowering, x, splits).entries()) {
      const [isFirst, isLast] = [i === 0, i === splits - 1];
      lowerStatistics(lowering, group, node.outputs[i], {
        ...{ running, soFar, isFirst, isLast, momentum: momentum / splits },
        keep: isFirst ? 1 - Math.fround(momentum) : 1, // for all groups
        devices,
      });
    }
  },
};

/** How running statistics follow those of a group. */
interface Moves {
  /** The mean and the variance, or none. */
  running: readonly Tensor[];
  /** Both [2, c] with the groups so far, where there are several: the running ones change with the last group. */
  soFar: readonly Tensor[];
  isFirst: boolean;
  isLast: boolean;
  /** What they keep of themselves, and take of the group's. */
  keep: number;
  momentum: number;
}

/** Statistics of one group, and its part in the running ones. */
function lowerStatistics(
  lowering: Lowering,
  x: Tensor,
  statistics: Tensor,
  { devices, ...moves }: Moves & { devices: number },
): void {
  const { rows, vec4s } = rowsAndVec4s(x);
  const { isSoftware } = lowering.target;
  const { perChunk, chunks } = chunkRows(rows);
  const parts = isSoftware ? { perPart: perChunk, parts: chunks } : cutRows(rows, vec4s);
  const scratch = (parts: number) =>
    lowering.scratch({ shape: [parts, 2, x.shape.at(-1)!] }, "partial statistics");
  const partial = scratch(parts.parts);
  lowering.dispatch({
    label: "batch_statistics",
    ...isSoftware
      ? {
        source: LINEAR_MAIN + WITH_NAN + chunkWgsl,
        uniforms: uniforms(rows, vec4s, parts.perPart, parts.parts),
        workgroups: linearWorkgroups(parts.parts * vec4s, LINEAR_SIZE),
      }
      : rowSums(rows, vec4s, parts, PART_STATISTICS),
    bindings: [x, partial],
  });
  if (devices === 1) return lowerCombined(lowering, rows, parts, partial, statistics, moves);
  const [own, all] = [scratch(1), scratch(devices)];
  lowerCombined(lowering, rows, parts, partial, own);
  lowering.gather(own, all);
  lowerCombined(lowering, devices * rows, { perPart: rows, parts: devices }, all, statistics, moves);
}

/**
 * Mean and variance of all parts of some rows; or where nothing follows them, mean and squared deviations as of a part of
 * more rows.
 */
function lowerCombined(
  lowering: Lowering,
  rows: number,
  parts: RowParts,
  partial: Tensor,
  combined: Tensor,
  moves?: Moves,
): void {
  const { vec4s } = rowsAndVec4s(partial);
  const { keep, momentum } = moves ?? { keep: 1, momentum: 0 };
  const { text: moveRunning, bindings: running } = moveRunningStatistics(moves);
  // PyTorch refuses a single row; here its variance is taken as it is.
  const runningWords = [f32(keep), f32(momentum), f32(rows / Math.max(1, rows - 1))];
  const second = moves === undefined ? "variance * f32(p.rows)" : "variance";
  lowering.dispatch({
    label: "batch_statistics combine",
    ...lowering.target.isSoftware
      ? {
        source: LINEAR_MAIN + moveRunning + combineWgsl.replace("/* second */ variance", second),
        uniforms: uniforms(rows, vec4s, parts.perPart, parts.parts, ...runningWords),
        workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
      }
      : combineStatistics(rows, vec4s, parts, {
        declarations: moveRunning,
        params: "keep: f32, momentum: f32, unbias: f32",
        words: runningWords,
        store: `statistics[vec4_index] = mean;
    statistics[p.vec4s + vec4_index] = ${second};
    move_running(vec4_index, mean, variance);`,
      }),
    bindings: [partial, combined, ...running],
  });
}

/**
 * WGSL of `move_running()`, and what it binds from 3 on: the running statistics of a vec4 of channels keep `p.keep` of themselves, and
 * take `p.momentum` of a group's.
 */
function moveRunningStatistics(moves: Moves | undefined): { text: string; bindings: readonly Tensor[] } {
  const begin = "fn move_running(vec4_index: u32, mean: vec4<f32>, variance: vec4<f32>) {";
  if (moves === undefined || moves.running.length === 0) return { text: `${begin}}\n`, bindings: [] };
  const { running, soFar, isFirst, isLast } = moves;
  const ofRunning = ["running_mean[vec4_index]", "running_variance[vec4_index]"];
  const ofGroups = ["so_far[vec4_index]", "so_far[p.vec4s + vec4_index]"];
  const [meanBefore, varianceBefore] = isFirst ? ofRunning : ofGroups;
  const [meanAfter, varianceAfter] = isLast ? ofRunning : ofGroups;
  const bound = [
    ...isFirst || isLast ? ["running_mean", "running_variance"] : [],
    ...soFar.length > 0 ? ["so_far"] : [],
  ];
  // A batch that overflowed in any group tells nothing, and would never be forgotten: what is not finite stays so until the last one.
  const moved = (name: string, before: string) =>
    isLast ? `select(${before}, ${name}_moved, is_finite)` : `${name}_moved`;
  return {
    bindings: [...isFirst || isLast ? running : [], ...soFar],
    text: `${ARE_FINITE}${bound.map((name, i) => storage(3 + i, name, "read_write")).join("")}
${begin}
  let mean_moved = p.keep * ${meanBefore} + p.momentum * mean;
  let variance_moved = p.keep * ${varianceBefore} + p.momentum * p.unbias * variance;
  let is_finite = are_finite(mean_moved) & are_finite(variance_moved);
  ${meanAfter} = ${moved("mean", meanAfter)};
  ${varianceAfter} = ${moved("variance", varianceAfter)};
}
`,
  };
}

/** Mean and squared deviations of a part of the rows: `batch_statistics_chunk.wgsl` for GPUs. */
const PART_STATISTICS: RowSumText = {
  declarations: WITH_NAN + storage(1, "x") + storage(2, "partial", "read_write"),
  sums: ["sum", "squares"],
  // Deviations from the part's first value are small where values are large but close together.
  begin: "let pivot = x[first * p.vec4s + vec4_index];",
  add: "let d = x[at] - pivot; sum += d; squares += d * d;",
  store: `let count = f32(last - first);
    partial[part * 2u * p.vec4s + vec4_index] = pivot + sum / count;
    let deviations = squares - sum * sum / count;
    partial[(part * 2u + 1u) * p.vec4s + vec4_index] = with_nan(deviations, max(deviations, vec4<f32>()));`,
};

/** Attributes of {@linkcode batchNorm}. */
export interface BatchNormAttributes {
  epsilon: number;
  activation?: Activation;
  /** A last input like x is added before the activation, which can then only be `relu` or none. */
  residual: boolean;
  /** Groups of images with statistics of their own; one where it is left out. */
  splits?: number;
  /** Devices whose images have statistics together; one where it is left out. */
  devices?: number;
}

/**
 * y = f((x - mean) / sqrt(variance + epsilon) * gamma + beta + residual?); inputs x, gamma, beta, the statistics of each group,
 * residual?.
 */
export const batchNorm: Op<BatchNormAttributes> = {
  name: "batch_norm",

  shape(inputs, { residual, activation, splits = 1, devices = 1 }) {
    refuseSharedGroups("batch_norm", splits, devices);
    const [x, gamma, beta, statistics] = inputs;
    if (!keepsZero(activation) || (residual && activation !== undefined && activation !== "relu")) {
      throw new Error(`batch_norm: ${activation} is to be applied as an op of its own`);
    }
    expectShape(
      "batch_norm",
      statistics.shape[1] === x.shape.at(-1),
      "statistics of x's channels",
      x,
      statistics,
    );
    expectShape(
      "batch_norm",
      inputs.length === 3 + splits + (residual ? 1 : 0),
      "x, gamma, beta, statistics, residual?",
      ...inputs,
    );
    expectShape(
      "batch_norm",
      [gamma, beta].every(({ shape }) => shape.join() === `${x.shape.at(-1)}`) &&
        inputs.slice(3 + splits).every(({ shape }) => shape.join() === x.shape.join()),
      "x [..., c], gamma [c], beta [c] and a residual like x, if any",
      ...inputs,
    );
    return [{ shape: x.shape }];
  },

  endsBlock: ({ residual }) => residual,

  gradient(graph, node, [dy]) {
    const { epsilon, activation, residual, splits = 1, devices = 1 } = node.attributes as BatchNormAttributes;
    const [x, gamma, beta] = node.inputs;
    const statistics = node.inputs.slice(3, 3 + splits);
    // Whether a ReLU let a value pass is seen from its output; other slopes are computed again from x.
    const extra = activation === undefined ? [] : activation === "relu" ? [node.outputs[0]] : [beta];
    const keepMasked = activation !== undefined && residual;
    const [dx, dgamma, dbeta, dz] = graph.applyAll(
      batchNormGradient,
      [x, gamma, dy!, ...statistics, ...extra],
      { epsilon, activation, keepMasked, splits, devices },
    );
    const ofResidual = residual ? [keepMasked ? dz : dy] : [];
    return [dx, dgamma, dbeta, ...statistics.map(() => undefined), ...ofResidual];
  },

  lower(lowering, node, { epsilon, activation, residual, splits = 1 }) {
    const [, gamma, beta, ...others] = node.inputs;
    const [x, y, ...extra] = [node.inputs[0], node.outputs[0], ...others.slice(splits)].map((tensor) =>
      groupsOf(lowering, tensor, splits)
    );
    for (const [i, statistics] of others.slice(0, splits).entries()) {
      const { rows, vec4s } = rowsAndVec4s(x[i]);
      const perInvocation = rowsPerInvocation(lowering.target, rows, vec4s);
      const prelude = activationWgsl(activation) +
        (residual ? storage(6, "residual") : "");
      lowering.dispatch({
        label: "batch_norm",
        source: LINEAR_MAIN + prelude + applyWgsl.replace("/* residual */", residual ? "+ residual[at]" : ""),
        bindings: [x[i], statistics, gamma, beta, y[i], ...extra.map((groups) => groups[i])],
        uniforms: uniforms(rows, vec4s, perInvocation, f32(epsilon)),
        workgroups: linearWorkgroups(Math.ceil(rows / perInvocation) * vec4s, LINEAR_SIZE),
      });
    }
  },
};

/** Attributes of {@linkcode batchNormGradient}. */
interface BatchNormGradientAttributes {
  epsilon: number;
  activation?: Activation;
  /** Also give dz, the gradient behind the activation: what a residual receives. */
  keepMasked: boolean;
  /** Groups of images with statistics of their own. */
  splits: number;
  /** Devices whose images have statistics together. */
  devices: number;
}

/** WGSL of dz: a ReLU's slope is seen from its output, others' from z, which is computed again. */
const DZ = {
  none: "dy[at]",
  relu: "activation_gradient(dy[at], y[at])",
  other: "activation_gradient(dy[at], (x[at] - mean) * z_scale + z_shift)",
};
const Z_CONSTANTS = "let z_scale = inverse * gamma[vec4_index];\n  let z_shift = beta[vec4_index];";

/** Of the sums for GPUs, as `batch_norm_gradient_sums.wgsl` has them. */
const PART_GRADIENT_BINDINGS = storage(1, "x") + storage(2, "statistics") + storage(3, "dy") +
  storage(4, "partial", "read_write");
const BEGIN_PART_GRADIENT = `let mean = statistics[vec4_index];
  let inverse = 1.0 / sqrt(statistics[p.vec4s + vec4_index] + p.epsilon);
  /* slope's constants */`;

/**
 * Inputs x, gamma, dy, the statistics of each group and, behind a ReLU, its output y, or behind another activation beta;
 * outputs dx, dgamma, dbeta and, where kept, dz.
 */
const batchNormGradient: Op<BatchNormGradientAttributes> = {
  name: "batch_norm_gradient",

  shape([x, gamma], { keepMasked }) {
    const types = [{ shape: x.shape }, { shape: gamma.shape }, { shape: gamma.shape }];
    return keepMasked ? [...types, { shape: x.shape }] : types;
  },

  lower(lowering, node, attributes) {
    const { splits, activation } = attributes;
    const [x, gamma, dy, ...others] = node.inputs;
    const [dx, dgamma, dbeta, ...dz] = node.outputs;
    const [statistics, extra] = [others.slice(0, splits), others.slice(splits)];
    const inGroups = (tensors: readonly Tensor[]) =>
      tensors.map((tensor) => groupsOf(lowering, tensor, splits));
    const cut = inGroups([x, dy, dx, ...dz]);
    const cutExtra = activation === "relu"
      ? inGroups(extra)
      : extra.map((tensor) => statistics.map(() => tensor));
    const sums = statistics.map(() =>
      splits === 1 ? [dgamma, dbeta] : [
        lowering.scratch({ shape: dgamma.shape }, "gradient of a group's gamma"),
        lowering.scratch({ shape: dbeta.shape }, "gradient of a group's beta"),
      ]
    );
    for (const [i, own] of statistics.entries()) {
      const [ownX, ownDy, ownDx, ...ownDz] = cut.map((groups) => groups[i]);
      lowerGradient(lowering, {
        inputs: [ownX, own, gamma, ownDy, ...cutExtra.map((groups) => groups[i])],
        outputs: [ownDx, ...sums[i], ...ownDz],
      }, attributes);
    }
    for (const [which, total] of [dgamma, dbeta].entries()) {
      let sum = sums[0][which];
      for (let i = 1; i < splits; i++) {
        const isLast = i === splits - 1;
        const next = isLast ? total : lowering.scratch({ shape: total.shape }, "sum over groups");
        add.lower(lowering, { ...node, inputs: [sum, sums[i][which]], outputs: [next] }, {});
        sum = next;
      }
    }
  },
};

/** Gradients of one group: inputs x, statistics, gamma, dy and what the slope needs; outputs dx, dgamma, dbeta, dz?. */
function lowerGradient(
  lowering: Lowering,
  node: { inputs: readonly Tensor[]; outputs: readonly Tensor[] },
  { epsilon, activation, keepMasked, devices }: BatchNormGradientAttributes,
): void {
  const [x, statistics, gamma, dy, ...extra] = node.inputs;
  const [dx, dgamma, dbeta, ...dz] = node.outputs;
  const { rows, vec4s } = rowsAndVec4s(x);
  const perInvocation = rowsPerInvocation(lowering.target, rows, vec4s);
  const { isSoftware } = lowering.target;
  const parts = cutRows(rows, vec4s);
  const { perChunk, chunks } = isSoftware
    ? chunkRows(rows)
    : { perChunk: parts.perPart, chunks: parts.parts };
  const partial = lowering.scratch({ shape: [chunks, 2, x.shape.at(-1)!] }, "partial gradient sums");
  const behind = activation === undefined || activation === "relu" ? activation : "other";
  const prelude = LINEAR_MAIN + activationWgsl(activation);
  const withSlope = (text: string) =>
    text.replace("/* slope's constants */", behind === "other" ? Z_CONSTANTS : "")
      .replace("/* dz */", DZ[behind ?? "none"]);

  const forSums = behind === "relu" ? extra : behind === "other" ? [gamma, ...extra] : [];
  const sumNames = behind === "relu" ? ["y"] : ["gamma", "beta"];
  const declarations = forSums.map((_, i) => storage(5 + i, sumNames[i])).join("");
  lowering.dispatch({
    label: "batch_norm_gradient sums",
    ...isSoftware
      ? {
        source: prelude + declarations + withSlope(gradientSumsWgsl),
        uniforms: uniforms(rows, vec4s, perChunk, chunks, f32(epsilon)),
        workgroups: linearWorkgroups(chunks * vec4s, LINEAR_SIZE),
      }
      : rowSums(rows, vec4s, parts, {
        declarations: activationWgsl(activation) + PART_GRADIENT_BINDINGS + declarations,
        params: "epsilon: f32",
        words: [f32(epsilon)],
        sums: ["with_xhat", "alone"],
        begin: withSlope(BEGIN_PART_GRADIENT),
        add: withSlope("let dz = /* dz */; alone += dz; with_xhat += dz * (x[at] - mean);"),
        store: `partial[part * 2u * p.vec4s + vec4_index] = with_xhat * inverse;
  partial[(part * 2u + 1u) * p.vec4s + vec4_index] = alone;`,
      }),
    bindings: [x, statistics, dy, partial, ...forSums],
  });
  sumPairs(lowering, "batch_norm_gradient totals", partial, chunks, [dgamma, dbeta]);
  const totals = devices === 1 ? [dgamma, dbeta] : gatherTotals(lowering, partial, chunks, devices);
  lowering.dispatch({
    label: "batch_norm_gradient input",
    source: prelude +
      extra.map(() => storage(8, behind === "relu" ? "y" : "beta")).join("") +
      (keepMasked ? storage(8 + extra.length, "kept", "read_write") : "") +
      withSlope(gradientInputWgsl).replace("/* keep dz */", keepMasked ? "kept[at] = dz;" : "")
        .replace("/* of all devices */", devices === 1 ? "" : `* ${devices}u`),
    bindings: [x, statistics, gamma, dy, ...totals, dx, ...extra, ...dz],
    uniforms: uniforms(rows, vec4s, perInvocation, f32(epsilon)),
    workgroups: linearWorkgroups(Math.ceil(rows / perInvocation) * vec4s, LINEAR_SIZE),
  });
}

/** The sums of the gradient over the images of all devices, of parts of this one's: what dx depends on. */
function gatherTotals(
  lowering: Lowering,
  partial: Tensor,
  chunks: number,
  devices: number,
): [Tensor, Tensor] {
  const [, pair, channels] = partial.shape;
  const scratch = (shape: number[]) => lowering.scratch({ shape }, "gradient sums of all devices");
  const [own, all] = [scratch([pair, channels]), scratch([devices, pair, channels])];
  const totals: [Tensor, Tensor] = [scratch([channels]), scratch([channels])];
  sumPartials(lowering, partial, chunks, own);
  lowering.gather(own, all);
  sumPairs(lowering, "batch_norm_gradient totals", all, devices, totals);
  return totals;
}
