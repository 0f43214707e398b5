import { assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  type DistillEvent,
  type DistillInput,
  type DistillOptions,
  embed,
  type FinetuneEvent,
  type FinetuneInput,
  type FinetuneOptions,
  knn,
  type LinearEvent,
  type LinearInput,
  type LinearOptions,
  type Method,
  METHODS,
  sampleOptions,
  samplePretrainOptions,
  startMethod,
} from "../../mod.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

/** Names of options, each as one that is not set: `undefined`, or `null` as JSON has it, of which the types know nothing. */
function unsetOf<Name extends string>(...names: Name[]): { [name in Name]?: undefined }[] {
  return [undefined, null].map((value) =>
    Object.fromEntries(names.map((name) => [name, value])) as { [name in Name]?: undefined }
  );
}

Deno.test("an option that is undefined or null is left out of a method, and of the bundled images' options", async () => {
  using folder = new RunFolder(4);
  /** Options that a run would have. */
  const resolve = (changes: Partial<DistillOptions>) => {
    const method: Method<DistillInput, DistillOptions, DistillEvent, DistillOptions> = {
      ...METHODS.seed,
      run: (options) => Promise.resolve(options),
    };
    const input = { data: folder.data, distill: TINY_TEACHER, output: join(folder.path, "run"), ...changes };
    return startMethod(method, { ...input, plugins: [TINY_ENCODER] }, {}).result;
  };
  const names = [
    "accumulate",
    "lr",
    "cos",
    "imageSize",
    "resume",
    "studentArch",
    "clipGrad",
    "actors",
  ] as const;
  for (const unset of unsetOf(...names)) assertEquals(await resolve(unset), await resolve({}));
  assertEquals(await resolve({ testData: undefined }), await resolve({}));
  assertEquals((await resolve({ testData: null })).testData, null, "no kNN");

  const output = "/never";
  for (const unset of unsetOf("lr", "queue", "dropPath", "data", "studentArch", "studentInit")) {
    assertEquals(sampleOptions({ output, ...unset }), sampleOptions({ output }));
  }
  for (const unset of unsetOf("lr", "mocoK", "momentum", "data", "arch", "tuning")) {
    assertEquals(samplePretrainOptions({ output, ...unset }), samplePretrainOptions({ output }));
  }
  assertEquals(sampleOptions({ output, testData: null }).testData, null);
  assertEquals(samplePretrainOptions({ output, testData: null }).testData, null);
});

Deno.test("an option that is undefined or null is left out of knn() and embed()", async () => {
  using folder = new RunFolder(30, 20);
  const input = { pretrained: TINY_TEACHER, data: folder.data, imageSize: 32, plugins: [TINY_ENCODER] };
  const accuracies = await knn(input).result;
  assertEquals(accuracies.length, 2);
  for (const unset of unsetOf("knnK", "knnT", "seed", "testData", "arch")) {
    assertEquals(await knn({ ...input, ...unset }).result, accuracies);
  }
  for (const unset of unsetOf("batchSize", "workers", "part", "neighbours", "weights")) {
    assertEquals(await embed({ ...input, ...unset }).result, { images: 30, neighbours: [] });
  }
});

Deno.test("an encoder without a checkpoint may be left out, undefined or null", async () => {
  using folder = new RunFolder(4, 2);
  const { data, path } = folder;
  const input = {
    data,
    output: join(path, "run"),
    arch: "tiny_convnet",
    imageSize: 32,
    plugins: [TINY_ENCODER],
  };
  const linear: Method<LinearInput, LinearOptions, LinearEvent, LinearOptions> = {
    ...METHODS.linear_probe,
    run: (options) => Promise.resolve(options),
  };
  const finetune: Method<FinetuneInput, FinetuneOptions, FinetuneEvent, FinetuneOptions> = {
    ...METHODS.finetune,
    run: (options) => Promise.resolve(options),
  };
  // As a program without types may call them.
  for (const pretrained of [{}, { pretrained: undefined }, { pretrained: null }] as { pretrained: null }[]) {
    assertEquals((await startMethod(linear, { ...input, ...pretrained }, {}).result).pretrained, null);
    assertEquals((await startMethod(finetune, { ...input, ...pretrained }, {}).result).pretrained, null);
  }
});
