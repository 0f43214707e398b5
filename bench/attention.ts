/** Attention's time and memory by the number of tokens, beside a whole matrix of scores. */
import { Random } from "../data/random.ts";
import { differentiate } from "../kernels/autodiff.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { Graph, type Tensor } from "../kernels/graph.ts";
import { affine } from "../kernels/ops/affine/affine.ts";
import { attention } from "../kernels/ops/attention/attention.ts";
import { matmulBatched } from "../kernels/ops/matmul_batched/matmul_batched.ts";
import { mean } from "../kernels/ops/mean/mean.ts";
import { softmax } from "../kernels/ops/softmax/softmax.ts";
import { Program } from "../kernels/program.ts";
import { makeSchedule } from "../kernels/schedule.ts";
import { compare, type Contestant } from "./measure.ts";
import * as ours from "./ours.ts";
import type { Row } from "./section.ts";
import * as tfjs from "./tfjs.ts";

/** One image of ViT-S: heads, and numbers of each. */
const [HEADS, WIDTH] = [6, 64];

const TOKENS = [64, 257, 1024, 1370, 2048, 4096];

/** More tokens than these only the fused op is given: a matrix of scores then takes more than an adapter may bind. */
const MOST_WITH_MATRIX = 2048;

/** A graph of attention: what goes in, and what comes out. */
interface Traced {
  graph: Graph;
  inputs: Tensor[];
  y: Tensor;
}

/** qkv [1, t, 1, 3 width] to y. */
function fused(tokens: number): Traced {
  const graph = new Graph();
  const qkv = graph.source("qkv", [1, tokens, 1, 3 * HEADS * WIDTH]);
  return { graph, inputs: [qkv], y: graph.apply(attention, [qkv], { heads: HEADS, rope: false }) };
}

/** Queries, keys and values, each [heads, t, d], to y of that shape: with a matrix of scores [heads, t, t]. */
function withMatrix(tokens: number): Traced {
  const graph = new Graph();
  const [q, k, v] = ["q", "k", "v"].map((name) => graph.source(name, [HEADS, tokens, WIDTH]));
  const products = graph.apply(matmulBatched, [q, k], { transposeB: true });
  const scores = graph.apply(affine, [products], { scale: 1 / Math.sqrt(WIDTH), shift: 0 });
  const shares = graph.apply(softmax, [scores], {});
  return { graph, inputs: [q, k, v], y: graph.apply(matmulBatched, [shares, v], {}) };
}

/** MiB of a run: everything that is alive at the peak, with what goes in and comes out. */
function mebibytes({ target }: Gpu, { graph, inputs, y }: Traced, withGradient: boolean): string {
  const outputs = withGradient ? differentiate(graph, graph.apply(mean, [y], {}), inputs) : [y];
  const { plan: { peakBytes } } = makeSchedule(
    { ...target, maxStorageBufferBindingSize: 2 ** 40 }, // as on a device that binds as much as it is given
    { label: "memory", graph, inputs, outputs, bound: [] },
  );
  return (peakBytes / 2 ** 20).toFixed(1);
}

/** MiB that are allocated on the device for attention with its gradient, by the number of tokens. */
export async function measureAttentionMemory(gpu: Gpu): Promise<{ tokens: number; mebibytes: number }[]> {
  const found: { tokens: number; mebibytes: number }[] = [];
  for (const tokens of TOKENS) {
    const { graph, inputs, y } = fused(tokens);
    const gradients = differentiate(graph, graph.apply(mean, [y], {}), inputs);
    const before = gpu.allocatedBytes;
    const program = await Program.compile(gpu, {
      label: "memory",
      graph,
      inputs,
      outputs: [y, ...gradients],
    });
    found.push({ tokens, mebibytes: (gpu.allocatedBytes - before) / 2 ** 20 });
    program.destroy();
  }
  return found;
}

/** The rows of [heads, t, d], a token after the other as in [t, heads, d]. */
function byToken(values: ArrayLike<number>, tokens: number): Float32Array {
  return Float32Array.from({ length: values.length }, (_, i) => {
    const [column, head] = [i % WIDTH, Math.floor(i / WIDTH) % HEADS];
    return values[(head * tokens + Math.floor(i / WIDTH / HEADS)) * WIDTH + column];
  });
}

/** The same contestant, whose result is [heads, t, d]. */
function byHead(contestant: Contestant, name: string, tokens: number): Contestant {
  const result = async () => ({ y: byToken((await contestant.result()).y, tokens) });
  return { ...contestant, name, result };
}

/** Rows of the section. */
export async function compareAttention(gpu: Gpu, rounds: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const tokens of TOKENS) {
    const random = new Random(1, "bench", "attention", tokens);
    const qkv = Float32Array.from({ length: tokens * 3 * HEADS * WIDTH }, () => random.uniform(-1, 1));
    const parts = [0, 1, 2].map((part) =>
      Float32Array.from({ length: tokens * HEADS * WIDTH }, (_, i) => {
        const [column, token] = [i % WIDTH, Math.floor(i / WIDTH) % tokens];
        return qkv[(token * 3 + part) * HEADS * WIDTH + Math.floor(i / WIDTH / tokens) * WIDTH + column];
      })
    );
    const { graph, inputs, y } = fused(tokens);
    const contestants = [await ours.contestant(gpu, graph, [[inputs[0], qkv]], { y })];
    if (tokens <= MOST_WITH_MATRIX) {
      const { graph, inputs, y } = withMatrix(tokens);
      const given = inputs.map((input, i) => [input, parts[i]] as const);
      const matrix = await ours.contestant(gpu, graph, given, { y });
      contestants.push(byHead(matrix, "matrix", tokens));
      contestants.push(byHead(tfjs.attention([HEADS, tokens, WIDTH], parts), "tfjs", tokens));
    }
    const timings = await compare(`attention of ${tokens} tokens`, contestants, rounds);
    const operations = 4 * HEADS * tokens ** 2 * WIDTH;
    rows.push({
      name: `${tokens} tokens`,
      timings,
      facts: {
        "GFLOP/s": (operations / timings.ours.median / 1e6).toFixed(1),
        "MiB": mebibytes(gpu, fused(tokens), false),
        "with gradient": mebibytes(gpu, fused(tokens), true),
        "MiB, matrix": mebibytes(gpu, withMatrix(tokens), false),
        "matrix with gradient": mebibytes(gpu, withMatrix(tokens), true),
      },
    });
  }
  return rows;
}
