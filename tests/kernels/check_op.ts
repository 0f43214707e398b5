/**
 * Checks an op against a float64 loop: its values, and its gradient against finite differences of that loop.
 *
 * Differences of the loop are exact to about 1e-9, so the gradient's tolerance is that of float32, not that of a
 * difference quotient taken in float32.
 */
import { assert } from "@std/assert";
import { differentiate } from "../../kernels/autodiff.ts";
import { type Gpu, GPU_PARALLELISM, openGpu } from "../../kernels/gpu.ts";
import { elementCount, Graph, type Op, paddedCount, type Tensor } from "../../kernels/graph.ts";
import { padRows, unpadRows } from "../../kernels/layout.ts";
import { Program } from "../../kernels/program.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, storage, uniforms } from "../../kernels/wgsl.ts";
import { GPU_TUNING } from "../../kernels/tuning/tuning.ts";
import { Random } from "../../data/random.ts";

let shared: Promise<Gpu> | undefined;

/** The device of a file's tests, which share its kernels; another one behind a test that failed. */
export async function withGpu(test: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await (shared ??= openGpu("test"));
  try {
    await test(gpu);
    gpu.check();
  } catch (error) {
    shared = undefined;
    gpu.destroy();
    throw error;
  }
}

Deno.test.afterAll(async () => (await shared)?.destroy());

/** The same device, for which the kernels of another kind of adapter are chosen. */
export function asHardware(gpu: Gpu): Gpu {
  return {
    ...gpu,
    target: {
      ...gpu.target,
      isSoftware: false,
      hasSubgroups: false,
      tuning: GPU_TUNING,
      parallelism: GPU_PARALLELISM,
    },
  };
}

/** The kernels for this adapter, which computes on the processor where there is no GPU, and those for GPUs. */
export const KINDS: readonly (readonly [kind: string, as: (gpu: Gpu) => Gpu])[] = [
  ["its own kernels", (gpu) => gpu],
  ["kernels for GPUs", asHardware],
];

/** The same device, on which no invocation hands a value to another one. */
export function withoutSubgroups(gpu: Gpu): Gpu {
  return { ...gpu, target: { ...gpu.target, hasSubgroups: false } };
}

/** The same device, for which no operand fits a texture. */
export function withoutTextures(gpu: Gpu): Gpu {
  return { ...gpu, target: { ...gpu.target, isSoftware: true, maxTextureDimension2D: 0 } };
}

/** The same device, as if it had other limits. */
export function withLimits(gpu: Gpu, others: Partial<Record<keyof GPUSupportedLimits, number>>): Gpu {
  const limits = new Proxy(gpu.device.limits, {
    get: (target, name) => others[name as keyof GPUSupportedLimits] ?? Reflect.get(target, name, target),
  });
  const device = new Proxy(gpu.device, {
    get(target, name) {
      if (name === "limits") return limits;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...gpu, device };
}

/** Uniform values in [-1, 1). */
export function randomValues(name: string, shape: readonly number[], scale = 1): Float32Array<ArrayBuffer> {
  const random = new Random(1, name);
  return Float32Array.from({ length: elementCount(shape) }, () => random.uniform(-scale, scale));
}

/** sum(x * r): a loss whose gradient with respect to x is r. It is only differentiated, never run. */
export const weightedSum: Op<Record<never, never>> = {
  name: "weighted_sum",
  isLoss: true,
  shape: () => [{ shape: [1] }],
  gradient: (_graph, node) => [node.inputs[1], undefined],
  lower() {
    throw new Error("weighted_sum is only differentiated");
  },
};

/** y = x, with the same for the gradient. */
const copy: Op<Record<never, never>> = {
  name: "copy",
  shape: ([x]) => [{ shape: x.shape }],
  gradient: (graph, _node, [dy]) => [graph.apply(copy, [dy!], {})],
  lower(lowering, node) {
    const vec4s = paddedCount(node.inputs[0]) / 4;
    lowering.dispatch({
      label: "copy",
      source: `${LINEAR_MAIN}${storage(1, "x")}${storage(2, "y", "read_write")}
        @group(0) @binding(0) var<uniform> vec4s: u32;
        fn invocation(i: u32) { if (i < vec4s) { y[i] = x[i]; } }`,
      bindings: [...node.inputs, ...node.outputs],
      uniforms: uniforms(vec4s),
      workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
    });
  },
};

/** Of float16's 2^-11 half an ulp, some sums' worth. */
const HALF_TOLERANCE = 1e-2;

/** What {@linkcode checkOp} needs. */
export interface OpCheck {
  /** Checks of one name and the same ops differ in their kernels only: the loop and its differences are computed for the first. */
  name?: string;
  /** Whole numbers are a tensor of u32. */
  inputs: {
    shape: readonly number[];
    values: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;
    gradient?: boolean;
  }[];
  build(graph: Graph, inputs: Tensor[]): Tensor;
  /** Values of the output from those of the inputs, in float64. */
  reference(...inputs: Float64Array[]): Float64Array;
  /** Largest error, relative to the largest magnitude of what is compared; 1e-5 unless said. */
  tolerance?: number;
  /** Whether it is also run with maps in float16, where the adapter has that; it is unless said. */
  inHalf?: boolean;
  /** The output is a loss, from which differentiation starts by itself. */
  loss?: boolean;
}

/** What a loop gives, and how it changes by each of its wanted inputs. */
interface Expected {
  output: Float64Array;
  differences: Float64Array[];
}

const expectedByName = new Map<string, Expected>();

/** The loop's values, and its differences by the inputs `wanted`; the loss is the sum of values times weights. */
function runLoop(
  { inputs, reference }: OpCheck,
  wanted: readonly number[],
  weights: Float32Array,
): Expected {
  const doubles = inputs.map(({ values }) => Float64Array.from(values));
  const loss = () => {
    const values = reference(...doubles);
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i] * weights[i];
    return sum;
  };
  const step = 1e-5;
  const differences = wanted.map((index) => {
    const values = doubles[index];
    return Float64Array.from(values, (value, i) => {
      values[i] = value + step;
      const above = loss();
      values[i] = value - step;
      const below = loss();
      values[i] = value;
      return (above - below) / (2 * step);
    });
  });
  return { output: reference(...doubles), differences };
}

/** Largest absolute difference over the largest absolute expected value. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert(actual.length === expected.length, `lengths ${actual.length} and ${expected.length}`);
  let error = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isNaN(actual[i])) return NaN;
    error = Math.max(error, Math.abs(actual[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return largest === 0 ? error : error / largest;
}

/**
 * Runs an op forward and backward and compares both with the loop. Also checks that pad lanes stay zero. On a software
 * adapter the op is run with everything read from buffers, and with everything read through textures; on one that has
 * float16 once more with maps of pixels in that.
 */
export async function checkOp(gpu: Gpu, check: OpCheck): Promise<void> {
  const graph = new Graph();
  const inputs = check.inputs.map(({ shape, values }, i) =>
    graph.source(`input ${i}`, shape, values instanceof Uint32Array ? "u32" : "f32")
  );
  // What the host writes and reads stays float32; what is between two copies need not.
  const copied = (tensor: Tensor) => tensor.dtype === "f32" ? graph.apply(copy, [tensor], {}) : tensor;
  const built = check.build(graph, inputs.map(copied));
  const output = check.loss ? built : copied(built);
  const ops = graph.nodes.map(({ op }) => op.name);
  const wanted = inputs.filter((_, i) => check.inputs[i].gradient);
  const weights = graph.source("weights", output.shape);
  const gradients = wanted.length === 0 ? [] : differentiate(
    graph,
    check.loss ? output : graph.apply(weightedSum, [output, copied(weights)], {}),
    wanted,
  );
  const weightValues = check.loss ? Float32Array.of(1) : randomValues("weights", output.shape);

  const { tolerance = 1e-5, name } = check;
  // Other files may have the same name for another op.
  const shared = name && [name, ...ops].join(" ");
  const loop = shared === undefined ? undefined : expectedByName.get(shared);
  const { output: values, differences } = loop ??
    runLoop(check, wanted.map((tensor) => inputs.indexOf(tensor)), weightValues);
  if (shared !== undefined) expectedByName.set(shared, { output: values, differences });
  const expectations = [
    { tensor: output, name: output.label, expected: values, tolerance },
    ...wanted.map((tensor, g) => ({
      tensor: gradients[g],
      name: `gradient of ${output.label} by input ${inputs.indexOf(tensor)}`,
      expected: differences[g],
      tolerance: 10 * tolerance,
    })),
  ];

  const { tuning } = gpu.target;
  const ways: { how: string; threshold: number | null; mixedPrecision?: boolean }[] = [
    { how: "", threshold: null },
    ...gpu.target.isSoftware ? [{ how: " through textures", threshold: 0 }] : [],
    ...gpu.adapter.hasHalf && (check.inHalf ?? true)
      ? [{ how: " in float16", threshold: null, mixedPrecision: true }]
      : [],
  ];
  for (const { how, threshold, mixedPrecision = false } of ways) {
    using program = await Program.compile(
      {
        ...gpu,
        target: {
          ...gpu.target,
          tuning: { ...tuning, productTextures: threshold !== null, textureFromLoads: threshold },
        },
      },
      {
        label: "test",
        graph,
        inputs: [...inputs, weights],
        outputs: [output, ...gradients],
        mixedPrecision,
      },
    );
    for (const [i, input] of inputs.entries()) {
      const { values } = check.inputs[i];
      program.write(input, values instanceof Uint32Array ? values : padRows(values, input.shape));
    }
    program.write(weights, padRows(weightValues, output.shape));
    program.run();
    for (const { tensor, name, expected, tolerance } of expectations) {
      const padded = await program.read(tensor);
      const values = unpadRows(padded, tensor.shape);
      const kept = padRows(values, tensor.shape);
      assert(padded.every((value, i) => value === kept[i]), `${tensor.label}: pad lanes are not zero`);
      const error = relativeError(values, expected);
      const allowed = mixedPrecision ? Math.max(tolerance, HALF_TOLERANCE) : tolerance;
      assert(error <= allowed, `${name}${how}: relative error ${error} > ${allowed}`);
    }
  }
}

/** What a graph of ops gives for some inputs: each output as it is on the device, with its pad lanes. */
export async function runOp(
  gpu: Gpu,
  inputs: readonly { shape: readonly number[]; values: ArrayLike<number> }[],
  build: (graph: Graph, inputs: Tensor[]) => readonly Tensor[],
): Promise<Float32Array[]> {
  const graph = new Graph();
  const sources = inputs.map(({ shape }, i) => graph.source(`input ${i}`, shape));
  const outputs = build(graph, sources);
  using program = await Program.compile(gpu, { label: "test", graph, inputs: sources, outputs });
  for (const [i, { shape, values }] of inputs.entries()) program.write(sources[i], padRows(values, shape));
  program.run();
  return await Promise.all(outputs.map((output) => program.read(output)));
}
