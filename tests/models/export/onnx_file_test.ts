import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import { elementCount } from "../../../kernels/graph.ts";
import { FileWriteError } from "../../../data/replace_file.ts";
import type { EncoderPart } from "../../../models/encoder_parts.ts";
import { writeOnnxFile, type WriteOnnxOptions } from "../../../models/export/onnx_file.ts";
import { traceOnnxModel } from "../../../models/export/onnx_model.ts";
import { ENCODERS, findEncoder, listedEncoders, summarize, usualHead } from "../../../models/registry.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import { IS_LONG } from "../../long.ts";
import { formulaTensor, referenceJson } from "../../reference.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { inputOf } from "../../../models/encoder_input.ts";
import { formulaEncoder, formulaImages, formulaReader } from "../reference_encoder.ts";
import { decodeOnnx, type OnnxOutputs, runOnnx } from "./onnx_runtime.ts";

const SIZE = 64;
const EMBEDDINGS = referenceJson("embeddings.json");

/** One of each family that is quick. */
const QUICK = ["resnet18", "mobilenetv3_small", "efficientnet_b0", "simclr_resnet50", "swav_resnet50"]
  .filter((name) => ENCODERS.some((encoder) => encoder.name === name));

interface Wanted {
  part?: EncoderPart;
  normalize?: boolean;
  imageSize?: number;
}

function trace(name: string, { part = "encoder", normalize = false, imageSize = SIZE }: Wanted = {}) {
  const encoder = findEncoder(name);
  return traceOnnxModel({
    encoder,
    head: usualHead(encoder),
    part,
    normalize,
    input: inputOf(encoder, { imageSize, cropRatio: 1 }),
  });
}

function reader(name: string): WriteOnnxOptions["read"] {
  const encoder = findEncoder(name);
  const read = formulaReader(summarize(encoder, usualHead(encoder), SIZE).state);
  return (key) => Promise.resolve(read(key));
}

/** An encoder of few numbers, and its embeddings of two images, which several tests compare with. */
const SMALL = "mobilenetv3_small";
let embedded: Promise<OnnxOutputs> | undefined;
const embedSmall = () => embedded ??= exportAndRun(SMALL, 2);

/** Writes an encoder with the formula's weights and runs it on the formula's images. */
async function exportAndRun(name: string, batch: number, wanted: Wanted = {}): Promise<OnnxOutputs> {
  const { imageSize = SIZE } = wanted;
  let outputs: OnnxOutputs = {};
  await withFolder(async (folder) => {
    const path = `${folder}/model.onnx`;
    const written = await writeOnnxFile(path, trace(name, wanted), { read: reader(name) });
    assertEquals(written, { files: [path], bytes: Deno.statSync(path).size });
    const shape = [batch, 3, imageSize, imageSize];
    const images = formulaTensor(`input/${imageSize}`, shape, "image");
    outputs = await runOnnx(Deno.readFileSync(path), images, shape);
  });
  return outputs;
}

for (const name of QUICK) {
  Deno.test(`parity: onnxruntime embeds images with an exported ${name} as the original does`, {
    ignore: name.endsWith("resnet50") && !IS_LONG, // one of them, of 96 pixels, is in every run of the tests
  }, async () => {
    const { batch, embedding } = EMBEDDINGS[name][`eval${SIZE}`];
    const outputs = await exportAndRun(name, batch);
    assertEquals(Object.keys(outputs), ["embedding", "feature"]);
    assertEquals(outputs.embedding.shape, [batch, 128]);
    assertLess(relativeError(outputs.embedding.data, embedding.flat()), 1e-4);
  });
}

for (const name of [...QUICK, "resnet18_cifar", "vit_tiny", "vit_tiny_cifar"]) {
  Deno.test(`onnxruntime gives the features of an exported ${name} that this program gives`, {
    ignore: !name.endsWith("cifar") && !IS_LONG, // the others' are seen in their embeddings
  }, () =>
    withGpu(async (gpu) => {
      const batch = 3;
      const outputs = await exportAndRun(name, batch, { part: "backbone" });
      assertEquals(Object.keys(outputs), ["feature"]);
      using frozen = await formulaEncoder(gpu, name, { batch, imageSize: SIZE, output: "feature" });
      const expected = await frozen.embed(formulaImages(`input/${SIZE}`, batch, SIZE));
      assertEquals(outputs.feature.shape, [batch, findEncoder(name).features]);
      assertLess(relativeError(outputs.feature.data, expected), 1e-4);
    }));
}

for (const name of QUICK.filter((name) => EMBEDDINGS[name].eval96 !== undefined)) {
  Deno.test(`parity: an exported ${name} is right for images of another size`, async () => {
    const { batch, embedding } = EMBEDDINGS[name].eval96;
    const outputs = await exportAndRun(name, batch, { imageSize: 96 });
    assertLess(relativeError(outputs.embedding.data, embedding.flat()), 1e-4);
  });
}

Deno.test("an exported encoder gives embeddings of length 1 where that is asked for", async () => {
  const { embedding } = await embedSmall();
  const outputs = await exportAndRun(SMALL, 2, { normalize: true });
  assertEquals(Object.keys(outputs), ["normalized", "feature"]);
  const expected = embedding.data.map((value, i) => {
    const row = Math.floor(i / 128) * 128;
    return value / Math.hypot(...embedding.data.subarray(row, row + 128));
  });
  assertLess(relativeError(outputs.normalized.data, expected), 1e-6);
});

Deno.test("an embedding of zeros stays one when it is normalised", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/model.onnx`;
    const read = reader(SMALL);
    await writeOnnxFile(path, trace(SMALL, { normalize: true, imageSize: 32 }), {
      read: async (key) => key.startsWith("fc.2.") ? (await read(key)).fill(0) : read(key),
    });
    const shape = [1, 3, 32, 32];
    const { normalized } = await runOnnx(
      Deno.readFileSync(path),
      formulaTensor("input/32", shape, "image"),
      shape,
    );
    assertEquals(normalized.data, new Float32Array(128));
  });
});

Deno.test("writeOnnxFile() puts weights that are too large for one message beside it", async () => {
  const shape = [2, 3, SIZE, SIZE];
  const images = formulaTensor(`input/${SIZE}`, shape, "image");
  await withFolder(async (folder) => {
    const path = `${folder}/model.onnx`;
    const seen: number[] = [];
    const written = await writeOnnxFile(path, trace(SMALL), {
      read: reader(SMALL),
      onWeight: (done, total) => void seen.push(done, total),
      largestMessage: 1000,
    });
    const sizes = [path, `${path}.data`].map((file) => Deno.statSync(file).size);
    assertEquals(written, { files: [path, `${path}.data`], bytes: sizes[0] + sizes[1] });
    assertEquals([seen[0], ...seen.slice(-2)], [0, 110, 110]);
    const model = Deno.readFileSync(path);
    for (const { externalData } of decodeOnnx(model).graph.initializer) {
      const entries = Object.fromEntries(externalData!.map(({ key, value }) => [key, value]));
      assertEquals([entries.location, Number(entries.offset) % 4096], ["model.onnx.data", 0]);
    }
    const data = Deno.readFileSync(`${path}.data`);
    const outputs = await runOnnx(model, images, shape, { path: "model.onnx.data", data });
    assertEquals(outputs.embedding, (await embedSmall()).embedding);
  });
});

Deno.test("writeOnnxFile() leaves nothing behind where a weight cannot be read or a file cannot be written", async () => {
  await withFolder(async (folder) => {
    const read = reader(SMALL);
    const failing = (key: string) => key === "fc.2.bias" ? Promise.reject(new Error("lost")) : read(key);
    const traced = trace(SMALL);
    for (const largestMessage of [2 ** 31, 1000]) {
      await assertRejects(
        () => writeOnnxFile(`${folder}/a.onnx`, traced, { read: failing, largestMessage }),
        Error,
        "lost",
      );
    }
    Deno.mkdirSync(`${folder}/taken.onnx`);
    await assertRejects(
      () => writeOnnxFile(`${folder}/taken.onnx`, traced, { read, largestMessage: 1000 }),
      FileWriteError,
      "taken.onnx",
    );
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["taken.onnx"]);
  });
});

Deno.test("a model says what its images must be, and names its weights as PyTorch does", () => {
  const { model, graph, weights } = trace("resnet18", { imageSize: 96 });
  const metadata = Object.fromEntries(model.metadataProps.map(({ key, value }) => [key, value]));
  assertEquals(metadata, {
    encoder: "resnet18",
    part: "encoder",
    image_size: "96",
    crop_ratio: "1",
    channels: "RGB",
    stem: "conv 7x7/2, max pool 3x3/2",
    mean: "[0.485,0.456,0.406]",
    std: "[0.229,0.224,0.225]",
  });
  assertEquals(graph.input.map(({ name, type }) => [name, type.tensorType.shape.dim]), [
    ["images", [{ dimParam: "batch" }, { dimValue: 3 }, { dimValue: 96 }, { dimValue: 96 }]],
  ]);
  const state = new Map(
    summarize(findEncoder("resnet18"), usualHead(findEncoder("resnet18"))).state.map((e) => [e.key, e.shape]),
  );
  for (const { name, shape } of weights) assertEquals([...shape], [...state.get(name)!], name);
  // Batch norm is folded: of each only the bias is left.
  assert(!weights.some(({ name }) => /running|bn\d\.weight/.test(name)));
});

for (const encoder of listedEncoders()) {
  Deno.test(`${encoder.name} has an ONNX form in which every value is made before it is read`, () => {
    const head = usualHead(encoder, 64);
    for (const part of ["backbone", "encoder"] as const) {
      const options = {
        encoder,
        head,
        part,
        normalize: part === "encoder",
        input: { imageSize: 224 },
      };
      const { graph, weights } = traceOnnxModel(options);
      const known = new Set(["images", ...weights.map((weight) => weight.name)]);
      for (const { input, output } of graph.node) {
        for (const value of input) assert(known.has(value), value);
        for (const value of output) {
          assert(!known.has(value), `${value} is made twice`);
          known.add(value);
        }
      }
      for (const output of graph.output) assert(known.has(output.name));
      assert(weights.every(({ shape }) => elementCount(shape) > 0));
    }
  });
}

Deno.test("writeOnnxFile() removes the weights beside a large model that a small one replaces, once that is written", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/model.onnx`;
    const read = reader(SMALL);
    const traced = trace(SMALL, { imageSize: 32 });
    await writeOnnxFile(path, traced, { read, largestMessage: 1000 });
    const names = () => [...Deno.readDirSync(folder)].map(({ name }) => name).toSorted();
    assertEquals(names(), ["model.onnx", "model.onnx.data"]);
    const before = Deno.statSync(`${path}.data`).size;
    const fails = () => Promise.reject(new TypeError("spoilt"));
    await assertRejects(() => writeOnnxFile(path, traced, { read: fails }), TypeError, "spoilt");
    assertEquals([names().length, Deno.statSync(`${path}.data`).size], [2, before]);
    const { files } = await writeOnnxFile(path, traced, { read });
    assertEquals([files, names()], [[path], ["model.onnx"]]);
    // A folder of that name is nobody's weights.
    Deno.mkdirSync(`${path}.data`);
    await writeOnnxFile(path, traced, { read });
    assertEquals(names(), ["model.onnx", "model.onnx.data"]);
  });
});
