import { assertEquals, assertThrows } from "@std/assert";
import { type DeclaredDispatch, readDeclarations } from "../../kernels/declarations.ts";
import { byteLength, Graph, type Tensor } from "../../kernels/graph.ts";
import { keepMapsInHalf, readAndWriteHalf } from "../../kernels/half_precision.ts";
import { differentiate } from "../../kernels/autodiff.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { conv2d } from "../../kernels/ops/conv2d/conv2d.ts";
import { POINTWISE } from "../../kernels/ops/conv2d/geometry.ts";
import { globalAveragePool } from "../../kernels/ops/global_average_pool/global_average_pool.ts";
import { mean } from "../../kernels/ops/mean/mean.ts";
import { reshape } from "../../kernels/ops/reshape/reshape.ts";

Deno.test("keepMapsInHalf() takes maps of pixels that the graph gives and that nobody else reads", () => {
  const graph = new Graph();
  const x = graph.source("x", [2, 3, 3, 8]);
  const doubled = graph.apply(add, [x, x], {});
  const kept = graph.apply(add, [doubled, x], {});
  const pooled = graph.apply(globalAveragePool, [kept], {});
  const nodes = keepMapsInHalf(graph.nodes, new Set([kept.id]));
  assertEquals(nodes.map(({ outputs }) => outputs[0].dtype), ["f16", "f32", "f32"]);
  assertEquals(nodes[1].inputs.map(({ dtype }) => dtype), ["f16", "f32"]);
  assertEquals(byteLength(nodes[0].outputs[0]), byteLength(x) / 2);
  assertEquals(nodes[2].outputs[0].id, pooled.id);
  assertEquals(doubled.dtype, "f32", "the graph itself is left as it was");
});

Deno.test("keepMapsInHalf() leaves sums over images, and rows in another order of dimensions, in float32", () => {
  const graph = new Graph();
  const w = graph.source("w", [3, 3, 8, 8]);
  // Views that share a weight, whose gradient is the sum of one each; of three views, of a sum too.
  const losses = [4, 6, 8].map((size) => {
    const hidden = graph.apply(add, [
      graph.source("x", [2, size, size, 8]),
      graph.source("x", [2, size, size, 8]),
    ], {});
    return graph.apply(mean, [graph.apply(conv2d, [hidden, w], POINTWISE)], {});
  });
  differentiate(graph, losses, [w]);
  const keys = graph.apply(reshape, [graph.source("rows", [8, 1, 1, 4])], { shape: [1, 1, 8, 4] });
  const patches = graph.apply(reshape, [graph.source("tokens", [2, 9, 4])], { shape: [2, 3, 3, 4] });
  const nodes = keepMapsInHalf(graph.nodes, new Set());
  const gradients = nodes.filter(({ op }) => op.name === "conv2d_weight_gradient");
  assertEquals(gradients.map(({ outputs }) => outputs[0].dtype), ["f32", "f32", "f32"]);
  assertEquals(gradients.map(({ inputs }) => inputs[0].dtype), ["f16", "f16", "f16"]);
  const sums = nodes.filter(({ op, inputs }) => op.name === "add" && inputs[0].shape[0] === 3);
  assertEquals(sums.map(({ outputs }) => outputs[0].dtype), ["f32", "f32"]);
  const dtypeOf = ({ id }: Tensor) => nodes.flatMap(({ outputs }) => outputs).find((o) => o.id === id)!.dtype;
  assertEquals(dtypeOf(keys), "f32");
  assertEquals(dtypeOf(patches), "f16");
});

const tensor = (id: number, dtype: Tensor["dtype"]): Tensor => ({
  id,
  shape: [1, 2, 2, 4],
  dtype,
  producer: undefined,
  label: `tensor ${id}`,
});

const MAIN = "\n@compute @workgroup_size(1) fn main() {}";

const dispatch = (source: string, bindings: Tensor[]): DeclaredDispatch =>
  readDeclarations("kernel", {
    label: "kernel",
    source: source + MAIN,
    bindings,
    uniforms: new Uint32Array(4),
    workgroups: [1, 1, 1],
  });

Deno.test("readAndWriteHalf() converts what is read and written of float16, and nothing else", () => {
  const source = `
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> order: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
fn invocation(i: u32) {
  if (x[i].x == 0.0) { y[i] = x[u32(x[order_of[i]].y)] + order[i]; }
  y[i + 1u] = max(y[i], vec4<f32>());
}`;
  const rewritten = readAndWriteHalf(
    dispatch(source, [tensor(1, "f16"), tensor(2, "f32"), tensor(3, "f16")]),
  );
  assertEquals(
    rewritten.source,
    `enable f16;

@group(0) @binding(1) var<storage, read> x: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> order: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f16>>;
fn invocation(i: u32) {
  if (vec4<f32>(x[i]).x == 0.0) { y[i] = vec4<f16>(vec4<f32>(x[u32(vec4<f32>(x[order_of[i]]).y)]) + order[i]); }
  y[i + 1u] = vec4<f16>(max(vec4<f32>(y[i]), vec4<f32>()));
}${MAIN}`,
  );
});

Deno.test("readAndWriteHalf() leaves a dispatch without float16 as it is, and refuses what it cannot rewrite", () => {
  const plain = dispatch("@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;", [tensor(1, "f32")]);
  assertEquals(readAndWriteHalf(plain), plain);
  const declaration = "@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;\n";
  for (const statement of ["y[i] += z", "y[i].x = z.x", "y[i][lane] *= 2.0", "y[i] <<= s", "y[j]++"]) {
    const written = dispatch(`${declaration}fn f() { ${statement}; }`, [tensor(1, "f16")]);
    assertThrows(
      () => readAndWriteHalf(written),
      Error,
      `kernel: binding 1 \`y\` may be float16, but is written by \`${statement}\`; write whole vec4s, \`y[index] = value;\``,
    );
  }
  for (const condition of ["y[i].x <= 1.0", "y[i].x >= y[j].x", "y[i].x == 0.0", "y[i].x != 0.0"]) {
    readAndWriteHalf(dispatch(`${declaration}fn f() { if (${condition}) { return; } }`, [tensor(1, "f16")]));
  }
});
