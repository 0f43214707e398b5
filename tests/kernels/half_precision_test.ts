import { assertEquals, assertThrows } from "@std/assert";
import { type DeclaredDispatch, readDeclarations } from "../../kernels/declarations.ts";
import { byteLength, Graph, type Tensor } from "../../kernels/graph.ts";
import { keepMapsInHalf, readAndWriteHalf } from "../../kernels/half_precision.ts";
import { add } from "../../kernels/ops/add/add.ts";
import { globalAveragePool } from "../../kernels/ops/global_average_pool/global_average_pool.ts";

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
