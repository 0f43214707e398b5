import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  distill,
  type DistillInput,
  type DistillOptions,
  embed,
  finetune,
  knn,
  linearProbe,
  type Method,
  METHODS,
  NothingToDoError,
  pretrain,
  sampleOptions,
  samplePretrainOptions,
  startMethod,
  StoppedError,
} from "../../mod.ts";
import { UserError } from "../../errors.ts";
import { RunFolder, TINY_ENCODER, TINY_TEACHER } from "../actors/small_run.ts";

Deno.test("a training that is stopped before it begins says so as any that is stopped, and where to go on", async () => {
  const reason = new Error("Ctrl-C");
  const signal = AbortSignal.abort(reason);
  const output = "/never";
  for (const [resume, checkpoint] of [["/a.pth.tar", "/a.pth.tar"], ["auto", null], [null, null]] as const) {
    const { result } = distill(sampleOptions({ output, resume }), { signal });
    const error = await assertRejects(() => result, StoppedError, "Ctrl-C");
    assertEquals([error.checkpoint, error.cause], [checkpoint, reason]);
  }
  const run = linearProbe({ pretrained: "/b.pth.tar", data: "/c", output });
  await run.stop();
  const error = await assertRejects(() => run.result, StoppedError, "the run was stopped");
  assertEquals(error.checkpoint, null);
});

Deno.test("a run that is stopped while it looks for the rows of its data ends before anything is started", async () => {
  using folder = new RunFolder(24, 8);
  const reason = new Error("enough");
  const [data, testData] = ["train.tsv", "test.tsv"].map((name) => join(folder.data, name));
  const encoder = { pretrained: TINY_TEACHER, arch: "tiny_convnet", plugins: [TINY_ENCODER], imageSize: 32 };
  const images = { ...encoder, data, testData };
  const output = folder.makeOutput("output");
  const { plugins, arch } = encoder;
  const trainings = [
    (signal: AbortSignal) => distill(folder.options("distilled", { data }), { signal }),
    (signal: AbortSignal) => pretrain(samplePretrainOptions({ data, output, arch, plugins }), { signal }),
    (signal: AbortSignal) => linearProbe({ ...images, output }, { signal }),
    (signal: AbortSignal) => finetune({ ...images, output }, { signal }),
  ];
  const evaluations = [
    (signal: AbortSignal) => knn(images, { signal }),
    (signal: AbortSignal) => embed({ ...encoder, data }, { signal }),
  ];
  for (const start of [...trainings, ...evaluations]) {
    for (const { name } of Deno.readDirSync(folder.data)) {
      if (name.endsWith(".lineidx")) Deno.removeSync(join(folder.data, name));
    }
    const controller = new AbortController();
    const types = new Set<string>();
    const listen = async () => {
      for await (const { type } of start(controller.signal)) {
        types.add(type);
        if (type === "progress") controller.abort(reason);
      }
    };
    const error = await assertRejects(listen);
    assertEquals([types.has("progress"), types.has("plan"), types.has("actors")], [true, false, false]);
    if (evaluations.includes(start as typeof evaluations[number])) assertEquals(error, reason);
    else assertEquals([(error as StoppedError).checkpoint, (error as StoppedError).cause], [null, reason]);
  }
});

Deno.test("a training that is stopped before its first step writes no checkpoint, unless it goes on from one", async () => {
  using folder = new RunFolder(24);
  const stopAtOnce = async (changes: Partial<DistillOptions>, name: string) => {
    const options = folder.options(name, { ...changes, epochs: 2 });
    const run = distill(options);
    const types: string[] = [];
    const error = await assertRejects(async () => {
      for await (const { type } of run) {
        types.push(type);
        if (type === "actors") run.stop().catch(() => {});
      }
    }, StoppedError);
    assertEquals(types.filter((type) => type === "step"), []);
    return { error, types, files: [...Deno.readDirSync(options.output)].map(({ name }) => name) };
  };
  const fresh = await stopAtOnce({}, "fresh");
  assertEquals([fresh.error.checkpoint, fresh.types.includes("checkpoint"), fresh.files], [null, false, []]);
  const { checkpoint: resume } = await distill(folder.options("whole")).result;
  const resumed = await stopAtOnce({ resume }, "resumed");
  assertEquals(resumed.files.map((name) => join(folder.path, "resumed", name)), [resumed.error.checkpoint]);
});

Deno.test("a new run that starts after its last epoch has nothing to do, and names no checkpoint", async () => {
  using folder = new RunFolder(24);
  const { result } = distill(folder.options("late", { startEpoch: 2, epochs: 2 }));
  const { message } = await assertRejects(() => result, NothingToDoError);
  assertMatch(message, /^2 of 2 epochs are done/);
});

Deno.test("the error of a missing permission names the folders of a run's own actors too", async () => {
  const method: Method<DistillInput, DistillOptions, never, never> = {
    ...METHODS.seed,
    resolve: () => Promise.reject(new Deno.errors.NotCapable('Requires read access to "/x"')),
    run: () => Promise.reject(new Error("did not begin")),
  };
  const actors = { encoder: "file:///a/mine/encoder.ts", tsv_reader: "https://example.com/reader.ts" };
  const run = startMethod(method, sampleOptions({ output: "/never", plugins: [], actors }), {});
  const { message } = await assertRejects(() => run.result, UserError);
  assertMatch(message, /needs: deno run --allow-read=\S*,\/a\/mine[, ]/);
});

Deno.test({
  name: "the error of data that may not be read names all permissions that the run needs",
  permissions: { read: [] },
  async fn() {
    const run = embed({ pretrained: "/mine/e.pth.tar", data: "/mine/data" });
    const { message } = await assertRejects(() => run.result, UserError);
    assertMatch(message, /^Requires read access to "\/mine\/data".*needs: deno run --allow-read=/);
  },
});
