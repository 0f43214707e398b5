import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseFlags, UsageError } from "../../../cli/flags/flags.ts";
import { COUNTERPARTS, REASONS } from "../../../cli/flags/foreign_names.ts";
import { SETTINGS } from "../../settings/table.ts";

Deno.test("parseFlags() knows flags of other programs by what they are here", () => {
  const table = {
    ...Object.fromEntries(
      [
        ...["distillT", "temp", "dim", "workers", "cache", "batchSize", "momentum", "weightDecay"],
        ...["lr", "arch", "warmupEpochs", "accumulate"],
      ].map((name) => [name, { kind: "text", metavar: "X", group: "", help: "" }] as const),
    ),
    amp: { kind: "boolean", group: "", help: "" },
  } as const;
  const said = (written: string) => assertThrows(() => parseFlags(table, [written]), UsageError).message;
  for (
    const [written, meant] of [
      ["--teacher_temp=0.04", "distill-t"],
      ["--student-temp", "temp"],
      ["--out_dim", "dim"],
      ["--num_workers", "workers"],
      ["--precision=16-mixed", "amp"],
      ["--model=resnet50", "arch"],
      ["--lr-warmup-epochs=5", "warmup-epochs"],
      ["--grad-accum-steps=2", "accumulate"],
      ["--no-cache", "cache off"],
    ]
  ) {
    const flag = written.replace(/=.*/, "");
    assertEquals(
      said(written),
      `unknown flag ${flag}; did you mean --${meant}? (--help all lists every flag)`,
    );
  }
  for (
    const [written, reason] of [
      ["--accelerator=gpu", "the default WebGPU adapter is used"],
      ["--devices=2", "a process uses one device; mpirun or srun starts several"],
      ["--warmup_teacher_temp", "a temperature is the same in all epochs"],
      // Flags whose names are near or begin alike are not meant.
      ["--patch-size", "it follows from the encoder"],
      ["--momentum_teacher", "no teacher is an average of weights"],
      ["--weight_decay_end", "the weight decay is the same in all epochs"],
      ["--stop-grad-conv1", "no layer of an encoder in training is frozen"],
      ["--freeze_last_layer=1", "no layer of an encoder in training is frozen"],
      ["--crop-min=0.2", "the augmentation decides it"],
      ["--sched=cosine", "the learning rate follows half a cosine with --cos"],
      ["--lars", "the optimizers are SGD with momentum, and AdamW"],
      ["--ema", "the only average of weights is MoCo's key encoder"],
    ]
  ) {
    assertStringIncludes(said(written), `unknown flag ${written.replace(/=.*/, "")}: ${reason}`);
    assert(!said(written).includes("did you mean"), said(written));
  }
  const number = { kind: "number", group: "", help: "" } as const;
  const saidOf = (written: string) =>
    assertThrows(() => parseFlags({ mocoM: number, mocoDim: number }, [written]), UsageError).message;
  assertStringIncludes(saidOf("--moco-m-cos"), "--moco-m-cos: --moco-m is the same in all epochs");
  assertStringIncludes(saidOf("--moco-mlp-dim=4096"), "--moco-mlp-dim: heads are MoCo's");
  // Of DINO and SwAV, where a task takes its images without a flag, and where it does not.
  for (const flag of ["--data", "--data_path", "--data-dir"]) {
    assertStringIncludes(
      saidOf(`${flag}=images`),
      `${flag}: images are given without a flag, where --help says DATA`,
    );
  }
  const withData = { data: { kind: "text", metavar: "X", group: "", help: "" }, dropPath: number } as const;
  assertStringIncludes(
    assertThrows(() => parseFlags(withData, ["--data_path=x"]), UsageError).message,
    "did you mean --data?",
  );
  // What a task does not have is not offered.
  assert(!said("--out-dir").includes("output"));
  assertEquals(said("--saveckp_freq"), "unknown flag --saveckp_freq (--help all lists every flag)");
});

Deno.test("the flags that stand for those of other programs are there, and none has such a name itself", () => {
  const flags = new Set(Object.values(SETTINGS).flatMap((task) => Object.keys(task)));
  for (const [foreign, counterparts] of Object.entries(COUNTERPARTS)) {
    assert(!flags.has(foreign), foreign);
    for (const counterpart of counterparts) assert(flags.has(counterpart.split(" ")[0]), counterpart);
  }
  // distill and pretrain have --data; a reason is for tasks without the flag.
  for (const foreign of Object.keys(REASONS)) assert(foreign === "data" || !flags.has(foreign), foreign);
});
