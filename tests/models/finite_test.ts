import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { requireFiniteFeatures } from "../../actors/labelled_features.ts";
import { examine } from "../../cli/commands/doctor.ts";
import { TABLE_STRIDE } from "../../data/pack.ts";
import { SAMPLE_TEACHER } from "../../data/sample.ts";
import { UserError } from "../../errors.ts";
import { CheckpointError } from "../../models/checkpoint/checkpoint_error.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import { buildLinearCheckpoint, readLinearCheckpoint } from "../../methods/linear_probe/checkpoint.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { fingerprintWeights } from "../../models/checkpoint/fingerprint_weights.ts";
import { openEncoderSource } from "../../models/encoder_source.ts";
import { exportEncoder } from "../../models/export/export_encoder.ts";
import { describeBadEntry, findNotFinite } from "../../models/finite.ts";
import { inspectCheckpoint } from "../../models/inspect.ts";
import { withFolder } from "./checkpoint/fixtures.ts";
import { spoil } from "./checkpoint/spoil.ts";

Deno.test("findNotFinite() finds NaN of either sign and infinities, and no finite number", () => {
  const finite = Float32Array.of(0, -0, 1e-45, -1e-45, 3.4028234663852886e38, -3.4028234663852886e38);
  assertEquals(findNotFinite(finite), undefined);
  assertEquals(findNotFinite(new Float32Array(0)), undefined);
  for (const bits of [0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff]) {
    const words = new Uint32Array(9);
    words[5] = words[7] = bits;
    const values = new Float32Array(words.buffer, 8); // a view that does not begin with its buffer
    assertEquals(findNotFinite(values), { first: 3, value: values[3], count: 2 });
  }
});

Deno.test("describeBadEntry() names the entry, how many and the first, and knows that no variance is below 0", () => {
  assertEquals(describeBadEntry("fc.bias", Float32Array.of(1, -2)), undefined);
  assertEquals(describeBadEntry("bn1.running_var", Float32Array.of(1, 0)), undefined);
  assertEquals(
    describeBadEntry("fc.bias", Float32Array.of(1, NaN), 10),
    "fc.bias holds NaN at index 11 (1 value is not finite)",
  );
  assertEquals(
    describeBadEntry("conv1.weight", new Float32Array(2000).fill(-Infinity)),
    "conv1.weight holds -Infinity at index 0 (2,000 values are not finite)",
  );
  assertMatch(
    describeBadEntry("bn1.running_var", Float32Array.of(1, -0.5))!,
    /^bn1.running_var holds -0.5 at index 1/,
  );
});

Deno.test("weights that are not finite are refused when they are read, by export and doctor; inspect counts them", async () => {
  await withFolder(async (folder) => {
    const cases = [
      ["bn1.running_var", { 3: NaN }, "bn1.running_var holds NaN at index 3 (1 value is not finite)"],
      [
        "layer1.0.conv1.weight",
        { 7: NaN, 9: Infinity },
        "layer1.0.conv1.weight holds NaN at index 7 (2 values are",
      ],
      [
        "layer4.1.bn2.running_var",
        { 511: -1 },
        "layer4.1.bn2.running_var holds -1 at index 511, but a variance",
      ],
      ["fc.2.bias", { 0: -Infinity }, "fc.2.bias holds -Infinity at index 0 (1 value is not finite)"],
    ] as const;
    const path = `${folder}/spoilt.pth.tar`;
    await spoil(
      SAMPLE_TEACHER,
      path,
      Object.fromEntries(cases.map(([key, numbers]) => [`encoder_q.${key}`, numbers])),
    );
    using source = await openEncoderSource(path, { part: "encoder" });
    for (const [key, , expected] of cases) {
      const { message } = await assertRejects(() => source.read(key), CheckpointError);
      assertStringIncludes(message, `${path}: ${expected}`);
      assertStringIncludes(message, "`deno task inspect --stats` counts such values");
    }
    const [[, , first], [weight]] = cases;
    await assertRejects(() => source.requireFinite(), CheckpointError, first);
    await assertRejects(() => source.fingerprint(), CheckpointError, "not finite");
    assertEquals((await source.read("bn1.running_mean")).length, 64);
    await assertRejects(() => source.read(weight, { first: 0, count: 1 }), CheckpointError, "at index 7 (");
    assertEquals((await source.read(weight, { first: 1, count: 2 })).length, 2 * 64 * 9);

    const output = `${folder}/out.onnx`;
    const options = {
      format: "onnx",
      part: "backbone",
      imageSize: 32,
      normalize: false,
      force: false,
    } as const;
    await assertRejects(
      () => exportEncoder({ checkpoint: path, output, ...options }),
      CheckpointError,
      first,
    );
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["spoilt.pth.tar"]);
    const teacher = (await examine({ data: null, distill: path, output: folder })).find(({ what }) =>
      what === "teacher"
    )!;
    assertEquals(teacher.state, "problem");
    assertStringIncludes(teacher.found, first);
    const { tensors } = await inspectCheckpoint(path, { statistics: true });
    assertEquals(
      tensors.flatMap(({ name, statistics }) =>
        statistics!.notFinite > 0 ? [[name, statistics!.notFinite]] : []
      ),
      [["bn1.running_var", 1], ["layer1.0.conv1.weight", 2], ["fc.2.bias", 1]].map((
        [key, count],
      ) => [`state_dict.module.encoder_q.${key}`, count]),
    );
  });
});

Deno.test("requireFiniteFeatures() names the row, of several views too, and does not look past the images", () => {
  const table = new Uint32Array(3 * TABLE_STRIDE);
  for (const [i, row] of [4, 11, 7].entries()) table[i * TABLE_STRIDE + 3] = row;
  const images = { count: 3, table } as unknown as Parameters<typeof requireFiniteFeatures>[2];
  const features = new Float32Array(4 * 2 * 5);
  features[3 * 2 * 5] = NaN; // of a fourth, which is not there
  requireFiniteFeatures(features, 5, images, 2);
  features[(2 * 1 + 1) * 5 + 2] = Infinity;
  const error = (() => {
    try {
      requireFiniteFeatures(features, 5, images, 2);
    } catch (caught) {
      return caught;
    }
  })();
  assertEquals(error instanceof UserError, true);
  assertMatch((error as Error).message, /^row 12: .* holds Infinity at index 2\. /);
});

Deno.test("readLinearCheckpoint() takes a probe that is not finite for one that has diverged, and needs one that has not", async () => {
  await withFolder(async (folder) => {
    const whole = `${folder}/whole.pth.tar`;
    const values = new Map([["fc.weight", new Float32Array(6)], ["fc.bias", new Float32Array(2)]]);
    const probes = [0.1, 1, 10].map((lr) => ({
      lr,
      best: 50,
      values,
      momentum: lr === 10 ? new Map() : values,
    }));
    await writeTorchFile(
      whole,
      buildLinearCheckpoint({
        epoch: 2,
        arch: "resnet18",
        backbone: [],
        classes: 2,
        features: 3,
        probes: probes.map((probe) =>
          probe.lr === 1 ? { ...probe, values: new Map(), momentum: new Map() } : probe
        ),
        chosen: 0,
        sgd: { lr: 0.1, momentum: 0.9, weightDecay: 0 },
      }),
    );
    const sizesIn = async (path: string) => {
      using file = await openCheckpointFile(path);
      return (await readLinearCheckpoint(file, 1)).probes.map((
        probe,
      ) => [probe.values.size, probe.momentum.size]);
    };
    assertEquals(await sizesIn(whole), [[2, 2], [0, 0], [2, 0]]);
    const spoilt = `${folder}/spoilt.pth.tar`;
    await spoil(whole, spoilt, { "seed_sweep.0.momentum.fc.bias": { 1: NaN } });
    assertEquals(await sizesIn(spoilt), [[0, 0], [0, 0], [2, 0]]);
    await spoil(spoilt, whole, { "seed_sweep.2.values.fc.weight": { 5: Infinity } });
    await assertRejects(() => sizesIn(whole), CheckpointError, "fc.weight holds Infinity at index 5");
  });
});

Deno.test("EncoderSource.fingerprint() is that of the weights, of which each is read once", async () => {
  using source = await openEncoderSource(SAMPLE_TEACHER, { part: "encoder" });
  const expected = await fingerprintWeights(source.tensors);
  const reads = new Map<string, number>();
  for (const [key, tensor] of source.tensors) {
    const read = tensor.read.bind(tensor);
    tensor.read = () => {
      reads.set(key, (reads.get(key) ?? 0) + 1);
      return read();
    };
  }
  assertEquals(await source.fingerprint(), expected);
  assertEquals(new Set(reads.values()), new Set([1]));
});
