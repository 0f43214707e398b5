import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  type DistillEvent,
  type DistillInput,
  type DistillOptions,
  type Method,
  METHODS,
  PRETRAIN_SAMPLE_DEFAULTS,
  type PretrainEvent,
  type PretrainInput,
  type PretrainOptions,
  SAMPLE_DATA,
  SAMPLE_DEFAULTS,
  SAMPLE_TEACHER,
  sampleOptions,
  samplePretrainOptions,
  startMethod,
  UserError,
} from "../../../mod.ts";
import { studentNames, teacherNames } from "../../../models/registry.ts";
import { parseDistillFlags } from "../../../cli/flags/distill_flags.ts";
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

/** A plugin of an encoder that is trained as a vision transformer is, or as is usual. */
function pluginOf(name: string, trainedAs = 'optimizer: "adamw", dropPath: 0.1'): string {
  const parts = new URL("../../../parts.ts", import.meta.url).href;
  const text = `
    import { globalAveragePool, projectionHead, registerEncoder } from ${JSON.stringify(parts)};
    registerEncoder({
      ...{ name: ${
    JSON.stringify(name)
  }, family: "test", roles: ["student"], ssl: "moco", head: "linear", features: 8 },
      ...{ ${trainedAs} },
      trace(builder, images, head) {
        const patches = { inputs: images.shape[3], outputs: 8, kernel: 8, stride: 8, padding: 0 };
        const x = builder.convolve(images, builder.convolution("patches", patches));
        const feature = builder.graph.apply(globalAveragePool, [x], {});
        return { feature, embedding: projectionHead(builder, "fc", 8, head)(feature) };
      },
    });`;
  return `data:text/javascript,${encodeURIComponent(text)}`;
}

Deno.test("a plugin's encoder has the sample's settings, whether sampleOptions() or the plugin came first", async () => {
  using folder = new RunFolder(4);
  const own = { output: join(folder.path, "run"), testData: null };
  const decided = ({ optimizer, dropPath, lr, weightDecay }: Partial<DistillOptions>) => ({
    ...{ optimizer, dropPath, lr, weightDecay },
  });
  const sgd = { optimizer: "sgd" as const, dropPath: 0, weightDecay: 1e-4 };
  const adamw = { optimizer: "adamw" as const, dropPath: 0.1, lr: 1e-3, weightDecay: 0.05 };
  const cases = [
    ["late_vit", undefined, {}, adamw],
    ["late_vit_lr", undefined, { lr: 2e-3, dropPath: 0 }, { ...adamw, lr: 2e-3, dropPath: 0 }],
    ["late_vit_sgd", undefined, { optimizer: "sgd" }, { ...sgd, lr: 0.1, dropPath: 0.1 }],
    ["late_net", "", {}, { ...sgd, lr: 0.1 }],
  ] as const;
  for (const [studentArch, trainedAs, asked, expected] of cases) {
    const given = { ...own, studentArch, plugins: [pluginOf(studentArch, trainedAs)], ...asked };
    const early = await resolveDistill(sampleOptions(given));
    assertEquals(decided(early), expected, studentArch);
    const imported = sampleOptions(given);
    assertEquals(decided(imported as DistillOptions), expected, studentArch);
    assertEquals(await resolveDistill(imported), early);
    // What is changed of the options before the run goes with what it decides.
    const { optimizer: _, ...rest } = asked as { optimizer?: string };
    const late = {
      ...own,
      studentArch: `${studentArch}_2`,
      plugins: [pluginOf(`${studentArch}_2`, trainedAs)],
    };
    const changed = await resolveDistill({ ...sampleOptions({ ...late, ...rest }), ...asked });
    assertEquals(decided(changed), expected, studentArch);
  }

  for (
    const [arch, trainedAs, expected] of [
      ["later_vit", undefined, { ...adamw, dropPath: 0, lr: 3e-4, weightDecay: 0.1 }],
      ["later_net", "", { ...sgd, lr: 0.03 }],
    ] as const
  ) {
    const given = { ...own, arch, plugins: [pluginOf(arch, trainedAs)] };
    const early = await resolvePretrain(samplePretrainOptions(given));
    assertEquals(decided(early), expected, arch);
    const imported = samplePretrainOptions(given);
    assertEquals(decided(imported as PretrainOptions), expected, arch);
    assertEquals(await resolvePretrain(imported), early);
  }
});

Deno.test("defaults that a run is to take have a known name, and are those of the command line without --data", async () => {
  using folder = new RunFolder(4);
  const output = join(folder.path, "run");
  const input = { data: SAMPLE_DATA, output };
  for (const defaults of ["paper", 1] as unknown[] as "sample"[]) {
    const problem = `defaults: expected "sample", found ${Deno.inspect(defaults)}`;
    await assertRejects(
      () => resolveDistill({ ...input, distill: TINY_TEACHER, defaults }),
      UserError,
      problem,
    );
    await assertRejects(() => resolvePretrain({ ...input, defaults }), UserError, problem);
  }
  const distillation = parseDistillFlags(["--output", output], {
    folder: "/",
    encoders: studentNames(),
    teachers: teacherNames(),
  });
  assert(distillation.help === undefined);
  const sample = await resolveDistill({ ...input, distill: SAMPLE_TEACHER, defaults: "sample" });
  for (const name of Object.keys(SAMPLE_DEFAULTS) as (keyof typeof SAMPLE_DEFAULTS)[]) {
    if (["dim", "imageSize", "evalResize"].includes(name)) continue; // which both read off the teacher
    assertEquals(sample[name], distillation.options[name], name);
  }
  const pretraining = await resolvePretrain({ ...input, defaults: "sample" });
  assertEquals(pretraining, { ...pretraining, ...PRETRAIN_SAMPLE_DEFAULTS });
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
