import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../errors.ts";
import { type Gpu, viewOf } from "../../kernels/gpu.ts";
import { Graph } from "../../kernels/graph.ts";
import { concatenateChannels } from "../../kernels/ops/concatenate_channels/concatenate_channels.ts";
import { conv2d } from "../../kernels/ops/conv2d/conv2d.ts";
import { EncoderBuilder } from "../../models/encoder_builder.ts";
import type { HeadKind } from "../../models/heads.ts";
import { FrozenEncoder } from "../../models/inference.ts";
import type { RowRange } from "../../models/parameter_layout.ts";
import { resnet } from "../../models/resnet.ts";
import { summarize } from "../../models/registry.ts";
import { relativeError, withGpu } from "../kernels/check_op.ts";
import { IS_LONG } from "../long.ts";
import { skip } from "../skip.ts";
import { formulaImages, formulaReader } from "./reference_encoder.ts";

const encoder = resnet(18);
const headOf = (kind: HeadKind) => ({ kind, dimension: 30 });

/** The device, as if it could bind no more than this at once. */
const limitedTo = (gpu: Gpu, maxStorageBufferBindingSize: number): Gpu => ({
  ...gpu,
  target: { ...gpu.target, maxStorageBufferBindingSize },
});

async function embed(gpu: Gpu, kind: HeadKind, reads: "whole" | "rows") {
  const head = headOf(kind);
  const { state } = summarize(encoder, head, 64);
  const shapes = new Map(state.map(({ key, shape }) => [key, shape]));
  const formula = formulaReader(state);
  const values = new Map<string, Float32Array>();
  const whole = (key: string) => {
    const value = values.get(key) ?? formula(key);
    values.set(key, value);
    return value;
  };
  let parts = 0;
  const read = (key: string, rows?: RowRange) => {
    if (rows === undefined) return whole(key);
    parts++;
    const size = whole(key).length / shapes.get(key)![0];
    return reads === "whole"
      ? whole(key)
      : whole(key).slice(rows.first * size, (rows.first + rows.count) * size);
  };
  using frozen = await FrozenEncoder.create(gpu, {
    encoder,
    head,
    batch: 1,
    imageSize: 64,
    input: "normalized",
    output: "embedding",
  });
  await frozen.load(read);
  return { embedding: await frozen.embed(formulaImages("input/64", 1, 64)), parts };
}

for (const kind of ["mlp", "mlp_bn", "linear"] as const) {
  Deno.test(`FrozenEncoder cuts weights that are too large to bind, and embeds the same (${kind} head)`, {
    ignore: kind === "linear" && !IS_LONG, // its layer is one of the others'
  }, () =>
    withGpu(async (gpu) => {
      const expected = await embed(gpu, kind, "rows");
      assertEquals(expected.parts, 0);
      // Just enough for the activations of one image; 3x3 weights of 512 channels take 36 times as much.
      const limited = limitedTo(gpu, 32 * 32 * 64 * 4);
      const actual = await embed(limited, kind, "rows");
      assert(actual.parts > 500, `${actual.parts} parts`);
      assert(relativeError(actual.embedding, expected.embedding) < 1e-5);
      assertEquals(await embed(limited, kind, "whole"), actual);
    }));
}

Deno.test("FrozenEncoder says what does not fit where not even a part can be bound", () =>
  withGpu(async (gpu) => {
    await assertRejects(
      () => embed(limitedTo(gpu, 10_000), "mlp", "rows"),
      UserError,
      "but this adapter binds at most 10000 bytes at once",
    );
  }));

for (const input of ["normalized", "pixels"] as const) {
  Deno.test(`FrozenEncoder embeds a batch that is too large to bind in several runs (${input})`, {
    ignore: input === "normalized" && !IS_LONG, // pixels are what a run embeds
  }, () =>
    withGpu(async (gpu) => {
      const options = { encoder, head: headOf("linear"), batch: 5, imageSize: 64, input } as const;
      const images = input === "normalized"
        ? formulaImages("input/64", 5, 64)
        : Uint32Array.from({ length: 5 * 64 * 64 }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 0);
      const read = formulaReader(summarize(encoder, headOf("linear"), 64).state);
      const embedded: Float32Array[] = [];
      const image = 32 * 32 * 64 * 4; // the largest activation of one, behind the first convolution
      for (const [limit, run] of [[512 * image, 5], [4 * image, 3], [2 * image, 2]]) {
        const limited = limitedTo(gpu, limit);
        using frozen = await FrozenEncoder.create(limited, { ...options, output: "normalized" });
        assertEquals(frozen.imagesPerRun, run);
        await frozen.load(read);
        embedded.push(await frozen.embed(images));
        assertEquals(embedded.at(-1)!.length, 5 * 30);
        assert(relativeError(embedded.at(-1)!, embedded[0]) < 1e-5);
        await assertRejects(() => frozen.embed(images.subarray(1)), Error, "5 images have");
      }
    }));
}

Deno.test("EncoderBuilder cuts no weight in train mode, and none where all are small enough", () => {
  const trace = (mode: "train" | "eval", maxWeightBytes: number) => {
    const graph = new Graph();
    const builder = new EncoderBuilder(graph, mode, { maxWeightBytes });
    encoder.trace(builder, graph.source("images", [1, 64, 64, 3]), headOf("mlp"));
    const count = (op: unknown) => graph.nodes.filter((node) => node.op === op).length;
    return { convolutions: count(conv2d), joins: count(concatenateChannels), builder };
  };
  const whole = { convolutions: 22, joins: 0 };
  const largest = 512 * 512 * 9 * 4;
  for (const [mode, limit] of [["train", 1000], ["eval", Infinity], ["eval", largest]] as const) {
    const { convolutions, joins, builder } = trace(mode, limit);
    assertEquals({ convolutions, joins }, whole);
    assertEquals(builder.parameters.some(({ rows }) => rows !== undefined), false);
  }
  // The three largest weights in two parts each.
  const { convolutions, joins, builder } = trace("eval", largest - 1);
  assertEquals({ convolutions, joins }, { convolutions: 25, joins: 3 });
  const rows = builder.parameters.filter(({ keys }) => keys[0] === "layer4.0.conv2.weight")
    .map((parameter) => parameter.rows);
  assertEquals(rows, [{ first: 0, count: 256 }, { first: 256, count: 256 }]);
});

/** The same device, which counts the copies into textures that are encoded, by their bytes' sum. */
function countingCopies(gpu: Gpu): { gpu: Gpu; copied: () => number } {
  let bytes = 0;
  const device = viewOf(gpu.device);
  device.createCommandEncoder = (descriptor) => {
    const encoder = gpu.device.createCommandEncoder(descriptor);
    const copy = encoder.copyBufferToTexture.bind(encoder);
    encoder.copyBufferToTexture = (source, texture, size) => {
      const [width, height] = size as number[];
      bytes += width * height * 16;
      copy(source, texture, size);
    };
    return encoder;
  };
  return {
    gpu: { ...gpu, device },
    copied() {
      const found = bytes;
      bytes = 0;
      return found;
    },
  };
}

Deno.test("FrozenEncoder copies its weights into textures when they are loaded, and in no run", ({ name }) =>
  withGpu(async (gpu) => {
    if (!gpu.target.tuning.productTextures) return skip(name, "the adapter reads products from buffers");
    const { gpu: counted, copied } = countingCopies(gpu);
    const { state } = summarize(encoder, headOf("mlp"), 32);
    const bytes = 4 * state.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const formula = formulaReader(state);
    const doubled = (key: string) => key === "conv1.weight" ? formula(key).map((v) => 2 * v) : formula(key);
    const options = { encoder, head: headOf("mlp"), batch: 2, imageSize: 32 } as const;
    const create = (on: Gpu) =>
      FrozenEncoder.create(on, { ...options, input: "normalized", output: "feature" });
    const images = formulaImages("input/32", 2, 32);
    using frozen = await create(counted);
    copied();
    await frozen.load(formula);
    assert(copied() > 0.9 * bytes);
    const first = await frozen.embed(images);
    // What the first run and the one after it read beside the weights: maps of at most 32 KiB an image.
    assert(copied() < 0.1 * bytes);
    assertEquals(await frozen.embed(images), first);

    // Other weights; and another size of batch, which reads the same textures.
    await frozen.load(doubled);
    const other = await frozen.embed(images);
    using anew = await create(gpu);
    await anew.load(doubled);
    assertEquals(other, await anew.embed(images));
    assert(relativeError(other, first) > 0.01);
    copied();
    using one = await frozen.share({ batch: 1, imageSize: 32 });
    assert(copied() < 0.1 * bytes);
    const own = await one.embed(images.subarray(0, images.length / 2));
    assert(relativeError(own, other.subarray(0, other.length / 2)) < 1e-5);
  }));
