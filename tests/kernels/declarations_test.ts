import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { readDeclarations, withoutComments, writtenBy } from "../../kernels/declarations.ts";
import type { Target } from "../../kernels/gpu.ts";
import { Graph, type Op, paddedCount } from "../../kernels/graph.ts";
import { makeSchedule, type Schedule } from "../../kernels/schedule.ts";
import { GPU_TUNING, softwareTuning } from "../../kernels/tuning/tuning.ts";
import { LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, uniforms } from "../../kernels/wgsl.ts";

const TARGET: Target = {
  isSoftware: false,
  tuning: GPU_TUNING,
  maxStorageBufferBindingSize: 2 ** 27,
  maxTextureDimension2D: 8192,
  maxStorageTexturesPerShaderStage: 8,
  maxWorkgroupsPerDimension: 65535,
  vectorLanes: 8,
  hasSubgroups: false,
  arenaBytes: 2 ** 24,
  parallelism: 4,
};

/** An adapter on which the op's input is read through a texture. */
const SOFTWARE: Target = {
  ...TARGET,
  isSoftware: true,
  tuning: { ...softwareTuning(8, false), textureFromLoads: 1 },
};

const X = "@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;";
const Y = "@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;";
const BODY = "y[i] = x[i];";

/** The schedule of y = f(x) on maps of 16 x 16 pixels, of an op that is written in this way. */
function lower(
  text: { main?: string; x?: string; y?: string; body?: string },
  target = TARGET,
): Schedule {
  const { main = LINEAR_MAIN, x = X, y = Y, body = BODY } = text;
  const op: Op<Record<never, never>> = {
    name: "mine",
    shape: ([input]) => [{ shape: input.shape }],
    lower(lowering, node) {
      const vec4s = paddedCount(node.outputs[0]) / 4;
      lowering.dispatch({
        label: "mine",
        source: `${main}
@group(0) @binding(0) var<uniform> vec4s: u32;
${x}
${y}
fn invocation(i: u32) {
  if (i >= vec4s) { return; }
  ${body}
}`,
        bindings: [...node.inputs, ...node.outputs],
        uniforms: uniforms(vec4s),
        workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
      });
    },
  };
  const graph = new Graph();
  const input = graph.source("input", [1, 16, 16, 8]);
  const output = graph.apply(op, [input], {});
  return makeSchedule(target, { label: "test", graph, inputs: [input], outputs: [output], bound: [] });
}

Deno.test("an op is lowered with what its WGSL declares, and what it writes is known", () => {
  const { dispatches: [dispatch] } = lower({});
  assertEquals(dispatch.declarations, [
    { binding: 1, name: "x", access: "read", element: "vec4<f32>", text: X },
    { binding: 2, name: "y", access: "read_write", element: "vec4<f32>", text: Y },
  ]);
  assertEquals(writtenBy(dispatch), [dispatch.bindings[1]]);
  const { dispatches: [onSoftware] } = lower({}, SOFTWARE);
  assertEquals("texture" in onSoftware.bindings[0], true);
  assertEquals(writtenBy(onSoftware), [onSoftware.bindings[1]]);
});

for (
  const [style, x] of Object.entries({
    "extra blanks": "@group( 0 )  @binding( 1 ) var<storage,read> x : array< vec4<f32> >;",
    "line breaks": "@group(0) @binding(1)\nvar<storage, read> x: array<vec4<f32>>;",
    "another order of attributes": "@binding(1) @group(0) var<storage, read> x: array<vec4<f32>>;",
    "the short name of a vector": "@group(0) @binding(1) var<storage, read> x: array<vec4f>;",
    "access left out": "@group(0) @binding(1) var<storage> x: array<vec4<f32>>;",
    "an unsigned number": "@group(0) @binding(1u) var<storage, read> x: array<vec4<f32>>;",
    "another group": "@group(1) @binding(1) var<storage, read> x: array<vec4<f32>>;",
    "a comment in between": "@group(0) @binding(1) /* input */ var<storage, read> x: array<vec4<f32>>;",
    "a nested comment": "@group(0) @binding(1) var<storage, read> /* a /* b */ c */ x: array<vec4<f32>>;",
    "a name for its type": "alias Vec4 = vec4<f32>; @group(0) @binding(1) var<storage, read> x: array<Vec4>;",
    "another type": "@group(0) @binding(1) var<storage, read> x: array<i32>;",
    "a type of fixed size": "@group(0) @binding(1) var<storage, read> x: array<vec4<f32>, 512>;",
  })
) {
  Deno.test(`an op whose input is declared with ${style} is refused, and told what to write`, () => {
    for (const target of [TARGET, SOFTWARE]) {
      const { message } = assertThrows(
        () => lower({ x }, target),
        Error,
        "op mine: binding 1 `x` is declared as",
      );
      assertEquals(message.slice(message.indexOf("; write")), `; write \`${X}\``);
    }
  });
}

Deno.test("an op whose output is declared in another style is told so with its access and type", () => {
  const y = "@binding(2) @group(0) var<storage,read_write> y: array<vec4f>;";
  assertThrows(() => lower({ y }), Error, `op mine: binding 2 \`y\` is declared as \`${y}\``);
  assertThrows(() => lower({ y }), Error, `write \`${Y}\``);
  const scalars = "@group(0) @binding(2) var<storage, read_write> y: array< f32 >;";
  assertThrows(
    () => lower({ y: scalars, body: "y[i] = 0.0;" }),
    Error,
    "write `@group(0) @binding(2) var<storage, read_write> y: array<f32>;`",
  );
});

for (
  const [case_, text, message] of [
    [
      "does not declare a binding",
      { y: "" },
      "the dispatch binds mine as binding 2, which the WGSL does not declare",
    ],
    [
      "declares a binding too many",
      { y: `${Y}\n@group(0) @binding(3) var<storage, read> z: array<f32>;` },
      "the WGSL declares `z` as binding 3, but the dispatch has 2 `bindings`",
    ],
    ["declares binding 0 as a storage buffer", {
      x: `${X}\n@group(0) @binding(0) var<storage, read> z: array<f32>;`,
    }, "the WGSL declares `z` as binding 0"],
    ["declares a binding twice", { x: `${X}\n${X.replace("x:", "z:")}` }, "binding 1 is declared twice"],
    [
      "numbers a binding by a constant",
      { x: "const FIRST = 1; @group(0) @binding(FIRST) var<storage, read> x: array<vec4<f32>>;" },
      "`@group(0) @binding(FIRST) var<storage, read> x: array<vec4<f32>>;` has no @binding with a number",
    ],
    [
      "has an access that a storage buffer has not",
      { y: Y.replace("read_write", "write") },
      "binding 2 `y` has the access write; write read or read_write",
    ],
    [
      "has a size of workgroups that is no number",
      { main: "const SIZE = 64;\n@compute @workgroup_size(SIZE) fn main() {}" },
      "the entry point has @workgroup_size(SIZE); write it in numbers",
    ],
    ["has no entry point", { main: "fn main() {}" }, "the entry point has no @workgroup_size"],
    [
      "takes an address",
      { body: "let at = &x[i]; y[i] = *at;" },
      "the address of binding 1 `x` is taken in `let at = &x[i]; y[i] = *at;`; index it directly, `x[index]`",
    ],
    [
      "asks for a length",
      { body: "if (i < arrayLength(& x)) { y[i] = x[i]; }" },
      "the address of binding 1 `x` is taken",
    ],
  ] as const
) {
  Deno.test(`an op that ${case_} is refused by name`, () => {
    assertThrows(() => lower(text), Error, `op mine: ${message}`);
  });
}

Deno.test("a use with blanks or comments in it is read through a texture as any other", () => {
  const body = "y[i] = x [i] + x/* x[ */[ /* ] */ i]; // not x[i\n  /* y[ */";
  const { dispatches: [dispatch] } = lower({ body }, SOFTWARE);
  const { dispatches: [plain] } = lower({ body: "y[i] = x[i] + x[i];" }, SOFTWARE);
  const squeezed = ({ source }: typeof dispatch) => source.replaceAll(/\s/g, "");
  assertEquals(squeezed(dispatch), squeezed(plain));
  assertNotEquals(dispatch.source.match(/textureLoad\(x/g), null);
});

Deno.test("members, local variables and numbers may have the name of a binding", () => {
  const body =
    "let p = Own(x[i]); y[i] = p.x; { let x = i; let z = x & x; if (true && x == 0u) { return; } }";
  lower({ x: `struct Own { x: vec4<f32> }\n${X}`, body }, SOFTWARE);
});

Deno.test("an input that is read as the bits of its float32 stays in its buffer", () => {
  const x = "@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;";
  const { dispatches: [{ source, bindings }] } = lower(
    { x, body: "y[i] = bitcast<vec4<f32>>(x[i]);" },
    SOFTWARE,
  );
  assertEquals(source.includes(x), true);
  assertEquals("texture" in bindings[0], false);
});

Deno.test("the invocations of a workgroup are counted in all dimensions", () => {
  for (const [size, lanes] of [["64", 64], ["8, 8", 64], [" 4,8 , 2 ", 64], ["1", 1]] as const) {
    const main = `@compute @workgroup_size(${size}) fn main() { invocation(0u); }`;
    assertEquals(lower({ main }).dispatches[0].lanes, lanes);
  }
});

Deno.test("an error names the kernel too, where its label is not the op's name", () => {
  const dispatch = {
    label: "second pass",
    source: "",
    uniforms: uniforms(1),
    workgroups: [1, 1, 1],
  } as const;
  const x = new Graph().source("input", [4]);
  assertThrows(
    () => readDeclarations("mine", { ...dispatch, bindings: [x] }),
    Error,
    "op mine, kernel second pass: the dispatch binds input as binding 1",
  );
});

Deno.test("withoutComments() leaves the rest as it is", () => {
  assertEquals(withoutComments("a // b\nc /* d // e */ f */ g /* h /* i */ j */ k"), "a  \nc   f */ g   k");
  assertEquals(withoutComments("a /* open /* b */ c"), "a  ");
  assertEquals(withoutComments("let x = 6 / 2 * 3;"), "let x = 6 / 2 * 3;");
});
