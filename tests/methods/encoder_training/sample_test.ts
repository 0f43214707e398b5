import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  type DistillEvent,
  type DistillInput,
  type DistillOptions,
  type Method,
  METHODS,
  type PretrainEvent,
  type PretrainInput,
  type PretrainOptions,
  SAMPLE_DATA,
  sampleOptions,
  samplePretrainOptions,
  startMethod,
} from "../../../mod.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../../actors/small_run.ts";

/** The options of a run, which is not started. */
function resolveDistill(input: DistillInput): Promise<DistillOptions> {
  const method: Method<DistillInput, DistillOptions, DistillEvent, DistillOptions> = {
    ...METHODS.seed,
    run: (options) => Promise.resolve(options),
  };
  return startMethod(method, input, {}).result;
}

function resolvePretrain(input: PretrainInput): Promise<PretrainOptions> {
  const method: Method<PretrainInput, PretrainOptions, PretrainEvent, PretrainOptions> = {
    ...METHODS.moco,
    run: (options) => Promise.resolve(options),
  };
  return startMethod(method, input, {}).result;
}

Deno.test("the bundled test images are for the bundled images alone", async () => {
  const test = join(SAMPLE_DATA, "test.tsv");
  for (const optionsOf of [sampleOptions, samplePretrainOptions]) {
    const output = "/never";
    assertEquals(optionsOf({ output }).testData, test);
    assertEquals(optionsOf({ output, data: undefined }).testData, test);
    assert(!("testData" in optionsOf({ output, data: "/mine" })));
    assertEquals(optionsOf({ output, data: "/mine", testData: "/test" }).testData, "/test");
    assertEquals(optionsOf({ output, data: "/mine", testData: null }).testData, null);
  }
  for (const testRows of [0, 2]) {
    using folder = new RunFolder(4, testRows);
    const { data, path } = folder;
    const expected = testRows === 0 ? "held-out" : join(data, "test.tsv");
    const own = { data, output: join(path, "run"), plugins: [TINY_ENCODER] };
    const distillation = sampleOptions({ ...own, distill: TINY_TEACHER, teacherArch: "tiny_convnet" });
    assertEquals((await resolveDistill(distillation)).testData, expected);
    assertEquals((await resolvePretrain(samplePretrainOptions(own))).testData, expected);
  }
});

/** A plugin of an encoder that is trained as a vision transformer is. */
function pluginOf(name: string): string {
  const parts = new URL("../../../parts.ts", import.meta.url).href;
  const text = `
    import { globalAveragePool, projectionHead, registerEncoder } from ${JSON.stringify(parts)};
    registerEncoder({
      ...{ name: ${
    JSON.stringify(name)
  }, family: "test", roles: ["student"], ssl: "moco", head: "linear", features: 8 },
      ...{ optimizer: "adamw", dropPath: 0.1 },
      trace(builder, images, head) {
        const patches = { inputs: images.shape[3], outputs: 8, kernel: 8, stride: 8, padding: 0 };
        const x = builder.convolve(images, builder.convolution("patches", patches));
        const feature = builder.graph.apply(globalAveragePool, [x], {});
        return { feature, embedding: projectionHead(builder, "fc", 8, head)(feature) };
      },
    });`;
  return `data:text/javascript,${encodeURIComponent(text)}`;
}

Deno.test("a plugin's encoder has its optimizer, whether sampleOptions() or the plugin came first", async () => {
  using folder = new RunFolder(4);
  const before = {
    ...{
      output: join(folder.path, "run"),
      testData: null,
      studentArch: "late_vit",
      plugins: [pluginOf("late_vit")],
    },
  };
  const early = sampleOptions(before);
  const { optimizer, dropPath, lr, weightDecay } = await resolveDistill(early);
  assertEquals({ optimizer, dropPath, lr, weightDecay }, {
    ...{ optimizer: "adamw", dropPath: 0.1, lr: 5e-4, weightDecay: 0.05 },
  });
  const late = sampleOptions(before);
  assertEquals([late.optimizer, late.dropPath, late.lr], ["adamw", 0.1, 1e-3]);

  const own = {
    output: join(folder.path, "run"),
    testData: null,
    arch: "later_vit",
    plugins: [pluginOf("later_vit")],
  };
  const pretraining = await resolvePretrain(samplePretrainOptions(own));
  assertEquals([pretraining.optimizer, pretraining.dropPath, pretraining.lr], ["adamw", 0, 1.5e-4]);
  const known = samplePretrainOptions(own);
  assertEquals([known.optimizer, known.dropPath, known.lr], ["adamw", 0, 3e-4]);
});

Deno.test("of an encoder that is not known yet, sampleOptions() keeps what is asked for", () => {
  const unknown = { output: "/never", studentArch: "unknown_vit" };
  const decided = ({ optimizer, dropPath, lr, weightDecay }: Partial<DistillOptions>) => ({
    ...{ optimizer, dropPath, lr, weightDecay },
  });
  assertEquals(decided(sampleOptions(unknown)), decided({}));
  assertEquals(
    decided(sampleOptions({ ...unknown, dropPath: 0.2, lr: 0.5 })),
    decided({ dropPath: 0.2, lr: 0.5 }),
  );
  const adamw = decided({ optimizer: "adamw", lr: 1e-3, weightDecay: 0.05 });
  assertEquals(decided(sampleOptions({ ...unknown, optimizer: "adamw" })), adamw);
  assertEquals(decided(sampleOptions({ ...unknown, optimizer: "adamw", lr: 2 })), { ...adamw, lr: 2 });
  assertEquals(
    decided(sampleOptions({ ...unknown, optimizer: "sgd" })),
    decided({ optimizer: "sgd", lr: 0.1, weightDecay: 1e-4 }),
  );
});
