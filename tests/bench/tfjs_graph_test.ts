/** The graphs that tfjs is compared on are those that are trained here. */
import { assertAlmostEquals, assertLess } from "@std/assert";
import "@tensorflow/tfjs"; // its own backend for processors, and gradients
import * as tf from "@tensorflow/tfjs-core";
import { trainOurs, trainTfjs } from "../../bench/encoders.ts";
import { relativeError, withGpu } from "../kernels/check_op.ts";

Deno.test("a student's step has the same loss and gradient with tfjs", () =>
  withGpu(async (gpu) => {
    await tf.setBackend("cpu");
    const work = { name: "mobilenetv3_small", batch: 4, imageSize: 32 };
    const contestants = [await trainOurs(gpu, work), trainTfjs(work)];
    const [ours, theirs] = await Promise.all(contestants.map(async (contestant) => {
      await contestant.run();
      await contestant.finish();
      return await contestant.result();
    }));
    assertAlmostEquals(ours.loss[0], theirs.loss[0], 1e-4);
    const gradients = [ours, theirs].map(({ gradient }) => Float32Array.from(gradient));
    assertLess(relativeError(gradients[0], Float64Array.from(gradients[1])), 1e-2);
    for (const contestant of contestants) contestant.dispose?.();
  }));
