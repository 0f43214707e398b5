import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { initialize } from "../../../models/initialize.ts";
import { LinearProbes } from "../../../methods/linear_probe/step.ts";
import { randomValues, relativeError, withGpu } from "../../kernels/check_op.ts";
import { referenceJson } from "../../reference.ts";
import { formulaEncoder, formulaImages } from "../../models/reference_encoder.ts";

const ZEROS = (features: number, classes: number) => (key: string) =>
  new Float32Array(key === "fc.weight" ? features * classes : classes);

Deno.test("parity: three steps of the linear probe on a frozen resnet18 equal the original's", () =>
  withGpu(async (gpu) => {
    const { losses, w, feature_row0_first16 } = referenceJson("evaluation.json");
    using encoder = await formulaEncoder(gpu, "resnet18", { batch: 16, imageSize: 64, output: "feature" });
    using probes = await LinearProbes.create(gpu, {
      features: 512,
      classes: 10,
      batch: 16,
      probes: 1,
      momentum: 0.9,
      weightDecay: 0,
    });
    await probes.load(0, ZEROS(512, 10));
    const labels = Array.from({ length: 16 }, (_, row) => row % 10);
    for (const step of [0, 1, 2]) {
      const features = await encoder.embed(formulaImages(`input/lin${step}`, 16, 64));
      if (step === 0) {
        const error = relativeError(features.subarray(0, 16), feature_row0_first16);
        assert(error <= 1e-4, `features: ${error}`);
      }
      const [{ loss }] = await probes.train({ features, labels }, [1e-4]);
      assertAlmostEquals(loss, losses[step], (step === 0 ? 1e-5 : 1e-3) * losses[step], `loss ${step}`);
      const values = await probes.save(0);
      for (const [i, key] of ["fc.weight", "fc.bias"].entries()) {
        const norm = Math.hypot(...values.get(key)!);
        assertAlmostEquals(norm, w[step][i], 1e-3 * w[step][i], `norm of ${key} after step ${step}`);
      }
    }
  }));

Deno.test("LinearProbes trains several learning rates side by side, each as it would be trained alone", () =>
  withGpu(async (gpu) => {
    const options = { features: 7, classes: 5, batch: 12, momentum: 0.9, weightDecay: 1e-3 };
    const features = randomValues("features", [12, 7]);
    const labels = Array.from({ length: 12 }, (_, row) => row % 5);
    const train = async (learningRates: number[]) => {
      using probes = await LinearProbes.create(gpu, { ...options, probes: learningRates.length });
      const weights = initialize(probes.state, 3);
      for (const i of learningRates.keys()) await probes.load(i, (key) => weights.get(key)!);
      for (let step = 0; step < 5; step++) await probes.train({ features, labels }, learningRates);
      const before = await Promise.all(learningRates.map((_, i) => probes.save(i)));
      const results = await probes.evaluate({ features, labels });
      // To evaluate is not to train.
      assertEquals(await Promise.all(learningRates.map((_, i) => probes.save(i))), before);
      return results.map((result, i) => ({ ...result, weights: before[i] }));
    };
    const [a, b, c] = await train([0.1, 1, 10]);
    assertEquals([[a], [b], [c]], [await train([0.1]), await train([1]), await train([10])]);
    assert(b.loss < a.loss, `${b.loss} is not below ${a.loss}`);
    assert(b.top5 === 12 && b.top1 <= 12);
  }));

Deno.test("LinearProbes counts the rows of a smaller batch alone", () =>
  withGpu(async (gpu) => {
    const options = { features: 6, classes: 3, probes: 1, momentum: 0, weightDecay: 0 };
    const features = randomValues("features", [4, 6]);
    const labels = [2, 0, 1, 1];
    const step = async (batch: number) => {
      using probes = await LinearProbes.create(gpu, { ...options, batch });
      const weights = initialize(probes.state, 1);
      await probes.load(0, (key) => weights.get(key)!);
      // What an earlier, full batch left behind must not matter.
      await probes.evaluate({
        features: randomValues("others", [batch, 6]),
        labels: new Array(batch).fill(0),
      });
      const results = await probes.train({ features, labels }, [0.5]);
      return { results, weights: await probes.save(0) };
    };
    const [full, part] = [await step(4), await step(9)];
    assertEquals(part.results, full.results);
    for (const [key, values] of full.weights) {
      assert(relativeError(part.weights.get(key)!, values) < 1e-6, key);
    }
    using probes = await LinearProbes.create(gpu, { ...options, batch: 4 });
    assertThrows(() => probes.evaluate({ features, labels: [0, 1, 2, 3] }), Error, "label 3 of row 3");
    assertThrows(() => probes.evaluate({ features, labels: [0] }), Error, "got 1 and 24");
  }));

Deno.test("LinearProbes goes on from saved weights and momentum to the same bits", () =>
  withGpu(async (gpu) => {
    const options = { features: 9, classes: 4, batch: 8, probes: 1, momentum: 0.9, weightDecay: 1e-4 };
    const rows = { features: randomValues("features", [8, 9]), labels: [0, 1, 2, 3, 3, 2, 1, 0] };
    using whole = await LinearProbes.create(gpu, options);
    const weights = initialize(whole.state, 1);
    await whole.load(0, (key) => weights.get(key)!);
    for (let step = 0; step < 3; step++) await whole.train(rows, [1]);
    using resumed = await LinearProbes.create(gpu, options);
    const saved = await whole.save(0);
    await resumed.load(0, (key) => saved.get(key)!);
    resumed.loadMomentum(0, await whole.saveMomentum(0));
    for (const probes of [whole, resumed]) await probes.train(rows, [1]);
    assertEquals(await resumed.save(0), await whole.save(0));
    assertEquals(await resumed.saveMomentum(0), await whole.saveMomentum(0));
  }));

Deno.test("LinearProbes decays weights: without features the first momentum is the decay alone", () =>
  withGpu(async (gpu) => {
    const options = { features: 9, classes: 6, batch: 4, probes: 1, momentum: 0.5, weightDecay: 0.25 };
    using probes = await LinearProbes.create(gpu, options);
    const weights = initialize(probes.state, 1);
    await probes.load(0, (key) => weights.get(key)!);
    await probes.train({ features: new Float32Array(4 * 9), labels: [0, 1, 2, 3] }, [0]);
    const momentum = (await probes.saveMomentum(0)).get("fc.weight")!;
    assertEquals(momentum, weights.get("fc.weight")!.map((value) => 0.25 * value));
  }));

Deno.test("LinearProbes counts a row for top-5 where four logits are larger, and not where five are", () =>
  withGpu(async (gpu) => {
    const options = { features: 6, classes: 6, batch: 6, probes: 1, momentum: 0, weightDecay: 0 };
    using probes = await LinearProbes.create(gpu, options);
    // Class c has the logit -c on every row, so that c classes are above it.
    await probes.load(
      0,
      (key) => key === "fc.weight" ? new Float32Array(36) : Float32Array.from({ length: 6 }, (_, c) => -c),
    );
    for (const [label, top1, top5] of [[0, 1, 1], [1, 0, 1], [4, 0, 1], [5, 0, 0]]) {
      const [found] = await probes.evaluate({ features: new Float32Array(6), labels: [label] });
      assertEquals([found.top1, found.top5], [top1, top5], `class ${label}`);
    }
  }));
