import { assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  type DistillEvent,
  type DistillInput,
  type DistillOptions,
  embed,
  knn,
  type Method,
  METHODS,
  type PretrainOptions,
  sampleOptions,
  samplePretrainOptions,
  startMethod,
} from "../../mod.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

/** Names of options, each as one that is `undefined`. */
function undefinedOf<Name extends string>(...names: Name[]): { [name in Name]?: undefined } {
  return Object.fromEntries(names.map((name) => [name, undefined])) as { [name in Name]?: undefined };
}

Deno.test("an option that is undefined is left out of a method, and of the bundled images' options", async () => {
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
  const names = ["accumulate", "lr", "imageSize", "resume", "studentArch", "testData", "actors"] as const;
  assertEquals(await resolve(undefinedOf(...names)), await resolve({}));

  const output = "/never";
  const distillation: Partial<DistillOptions> = undefinedOf("lr", "queue", "dropPath", "data", "studentArch");
  assertEquals(sampleOptions({ output, ...distillation }), sampleOptions({ output }));
  const pretraining: Partial<PretrainOptions> = undefinedOf("lr", "mocoK", "momentum", "data", "arch");
  assertEquals(samplePretrainOptions({ output, ...pretraining }), samplePretrainOptions({ output }));
});

Deno.test("an option that is undefined is left out of knn() and embed()", async () => {
  using folder = new RunFolder(30, 20);
  const input = { pretrained: TINY_TEACHER, data: folder.data, imageSize: 32, plugins: [TINY_ENCODER] };
  const accuracies = await knn(input).result;
  assertEquals(accuracies.length, 2);
  assertEquals(
    await knn({ ...input, ...undefinedOf("knnK", "knnT", "seed", "testData") }).result,
    accuracies,
  );
  const embedding = embed({ ...input, ...undefinedOf("batchSize", "workers", "part", "neighbours") });
  assertEquals(await embedding.result, { images: 30, neighbours: [] });
});
