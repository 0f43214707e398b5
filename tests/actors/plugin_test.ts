/** Parts that a module outside this tree registers: an augmentation, and an encoder with an op of its own. */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { distill, type DistillOptions } from "../../mod.ts";
import { registerAugmentation, registerEncoder, registerLoss, seedLoss } from "../../parts.ts";
import { UserError } from "../../errors.ts";
import { findEncoder } from "../../models/registry.ts";
import { RunFolder, TINY_ENCODER } from "./small_run.ts";

const PARTS = new URL("../../parts.ts", import.meta.url).href;

/** y = x^2, and an encoder that uses it in the place of an activation; and views that are the middle of the image. */
const PLUGIN = `
import {
  globalAveragePool, LINEAR_MAIN, LINEAR_SIZE, linearWorkgroups, paddedCount, projectionHead, registerAugmentation,
  registerEncoder, storage, uniforms,
} from ${JSON.stringify(PARTS)};

const elementwise = (lowering, node, expression) => {
  const vec4s = paddedCount(node.inputs[0]) / 4;
  const names = node.inputs.map((_, i) => storage(i + 1, "xy"[i]));
  lowering.dispatch({
    label: node.op.name,
    source: LINEAR_MAIN + names.join("") + storage(node.inputs.length + 1, "result", "read_write") + \`
@group(0) @binding(0) var<uniform> vec4s: u32;
fn invocation(i: u32) { if (i < vec4s) { result[i] = \${expression}; } }\`,
    bindings: [...node.inputs, ...node.outputs],
    uniforms: uniforms(vec4s),
    workgroups: linearWorkgroups(vec4s, LINEAR_SIZE),
  });
};
const squareGradient = {
  name: "square_gradient",
  shape: ([x]) => [{ shape: x.shape }],
  lower: (lowering, node) => elementwise(lowering, node, "2.0 * x[i] * y[i]"),
};
const square = {
  name: "square",
  shape: ([x]) => [{ shape: x.shape }],
  gradient: (graph, node, [dy]) => [graph.apply(squareGradient, [node.inputs[0], dy], {})],
  lower: (lowering, node) => elementwise(lowering, node, "x[i] * x[i]"),
};
registerEncoder({
  name: "square_net",
  family: "test",
  roles: ["student"],
  ssl: "moco",
  head: "linear",
  features: 16,
  trace(builder, images, head) {
    const conv = builder.convolution("conv", { inputs: 3, outputs: 16, kernel: 3, stride: 2, padding: 1 });
    const norm = builder.batchNorm("bn", 16);
    const x = builder.graph.apply(square, [builder.convolveAndNormalize(images, conv, norm)], {});
    const feature = builder.graph.apply(globalAveragePool, [x], {});
    return { feature, embedding: projectionHead(builder, "fc", 16, head)(feature) };
  },
});
const whole = (size) => ({
  size,
  scale: [1, 1],
  ratio: [1, 1],
  filter: "bilinear",
  jitter: { probability: 0, brightness: 0, contrast: 0, saturation: 0, hue: 0 },
  grayscaleProbability: 0,
  blur: { probability: 0, sigma: [0.1, 2] },
  flipProbability: 0,
});
registerAugmentation("whole", whole);
registerAugmentation("always of 224 pixels", () => whole(224));
`;

async function losses(options: DistillOptions): Promise<number[]> {
  const found: number[] = [];
  for await (const event of distill(options)) if (event.type === "step") found.push(event.loss);
  return found;
}

Deno.test("a plugin's encoder, its op and its augmentation train a student", async () => {
  using folder = new RunFolder(24);
  const path = join(folder.path, "plugin.ts");
  Deno.writeTextFileSync(path, PLUGIN);
  const settings = {
    plugins: [TINY_ENCODER, pathToFileURL(path).href],
    studentArch: "square_net",
    studentMlp: false,
    epochs: 2,
  };
  const found = await losses(folder.options("usual", settings));
  assertEquals(found.length, 12);
  assert(found.every(Number.isFinite));
  const whole = await losses(folder.options("whole", { ...settings, augmentation: "whole" }));
  assert(whole.every(Number.isFinite));
  assertNotEquals(whole, found);
  for (const property of ["loss", "augmentation"]) {
    const options = folder.options(property, { ...settings, [property]: "nothing" });
    const message = new RegExp(`^${property}: expected one of .*, found "nothing"$`);
    assertMatch((await assertRejects(() => losses(options), UserError)).message, message);
  }
  const options = folder.options("large", { ...settings, augmentation: "always of 224 pixels" });
  await assertRejects(
    () => losses(options),
    UserError,
    'augmentation "always of 224 pixels": expected views of 32 pixels',
  );
  assertEquals([...Deno.readDirSync(options.output!)], []); // no actor has begun
});

Deno.test("a name is registered once", async () => {
  for (
    const register of [
      () => registerEncoder(findEncoder("resnet18")),
      () => registerLoss("seed", seedLoss),
      () =>
        registerAugmentation("mocov2", () => {
          throw new Error("never called");
        }),
    ]
  ) {
    await assertRejects(() => Promise.resolve().then(register), Error, "already");
  }
});
