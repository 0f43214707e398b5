// Apart: its encoder has the name of another one, which other commands register in the process that they share.
// `--plugin`: an encoder, a loss and an augmentation that this tree does not know, from the command line.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SAMPLE_TEACHER } from "../../../data/sample.ts";
import { RunFolder } from "../../actors/small_run.ts";
import { hostPrograms, runProgram } from "../run_program.ts";

const PLUGIN = fileURLToPath(new URL("../../../examples/custom_encoder.ts", import.meta.url));
/** What a command says beside its progress, of which a slow machine sees lines. */
const said = (stderr: string) => stderr.replace(/^\w+: \d+ of \d+.*\n/gm, "");
const programOf = (name: string) =>
  fileURLToPath(new URL(`../../../cli/commands/${name}.ts`, import.meta.url));
/** In a process of its own, which knows no plugin of another command. */
const task = (name: string, ...args: string[]) => runProgram(programOf(name), ...args);
const runHosted = hostPrograms();

Deno.test("an encoder of one's own is distilled, evaluated, embedded with and exported from the command line", async () => {
  using folder = new RunFolder(24, 10);
  const output = join(folder.path, "out");
  const distilled = await task(
    "distill",
    ...["--plugin", PLUGIN, "-a", "tiny_convnet", "--loss", "soft_seed", "--augmentation", "plain"],
    ...["--data", join(folder.data, "train.tsv"), "--distill", SAMPLE_TEACHER, "--output", output],
    ...["-b", "4", "--queue", "16", "--epochs", "1", "--limit-steps", "2"],
    ...["-j", "1", "--no-insight", "--no-tune"],
  );
  assertEquals([distilled.code, said(distilled.stderr)], [0, ""]);
  assertMatch(distilled.stdout, /^student +tiny_convnet$/m);
  const config = JSON.parse(Deno.readTextFileSync(join(output, "config.json")));
  assertEquals([config.loss, config.augmentation], ["soft_seed", "plain"]);
  const [, name] = /^student +(\S+\.pth\.tar)$/m.exec(distilled.stdout)!;
  const checkpoint = join(output, name);
  const evaluate = ["--plugin", PLUGIN, "--pretrained", checkpoint, folder.data];
  // 32 x 32 is the bundled teacher's, and so the student's.
  const says =
    `note: ${checkpoint} says: images of 32 x 32 pixels, crop ratio 1, ImageNet's mean and std, stem conv 3x3/1\n`;

  const neighbours = await runHosted(programOf("knn"), ...evaluate, "-k", "5");
  assertEquals([neighbours.code, said(neighbours.stderr)], [0, says]);
  assertMatch(neighbours.stdout, /^encoder +tiny_convnet,/m);
  const linear = await runHosted(
    programOf("lincls"),
    ...evaluate,
    "--epochs",
    "1",
    "--lr",
    "1",
    "-b",
    "8",
    "-j",
    "1",
    "--no-tune",
    "--output",
    join(output, "linear"),
  );
  assertEquals([linear.code, said(linear.stderr)], [0, ""]);
  assertStringIncludes(linear.stdout, says.slice("note: ".length));
  const embedded = await runHosted(programOf("embed"), ...evaluate, "--output", join(output, "features.csv"));
  assertEquals([embedded.code, said(embedded.stderr)], [0, says]);
  const exported = await runHosted(
    programOf("export"),
    "--plugin",
    PLUGIN,
    "--output",
    join(output, "tiny.pth"),
    checkpoint,
  );
  assertEquals([exported.code, said(exported.stderr)], [0, says]);
  assertMatch(exported.stdout, /^encoder +tiny_convnet, without its head/m);
});

Deno.test("a plugin that is not there, or cannot be loaded, is named in one line", async () => {
  using folder = new RunFolder(4);
  const broken = join(folder.path, "broken.ts");
  Deno.writeTextFileSync(broken, "throw new Error('not today');");
  for (const [path, reason] of [["nowhere.ts", "nowhere.ts"], [broken, "not today"]]) {
    const { code, stderr } = await task("knn", "--plugin", path, "-a", "resnet18");
    assertEquals(code, 1);
    assertMatch(stderr, /^error: cannot load plugin file:\S+: [^\n]*\n$/);
    assertStringIncludes(stderr, reason);
  }
  const { code, stderr } = await task("distill", "-a", "tiny_convnet");
  assertEquals(code, 2);
  assertMatch(stderr, /^error: -a: expected one of /);
});

Deno.test("--plugin without a value is refused, and takes no other flag for one", async () => {
  for (
    const args of [["--plugin="], ["--plugin", ""], ["--plugin", "--json", "data"], ["data", "--plugin"]]
  ) {
    const { code, stdout, stderr } = await runHosted(programOf("knn"), "-a", "resnet18", ...args);
    assertEquals([code, stdout, stderr], [
      2,
      "",
      "error: --plugin has no value: expected the path or URL of a module\n",
    ]);
  }
  const { code, stdout } = await runHosted(programOf("knn"), "--plugin", "--help");
  assertEquals(code, 0);
  assertStringIncludes(stdout, "--knn-k");
});

Deno.test("a plugin's bug is called the plugin's, and ends a run at the second start of its actor", async () => {
  using folder = new RunFolder(24);
  const plugin = join(folder.path, "faulty.ts");
  Deno.writeTextFileSync(
    plugin,
    `import { globalAveragePool, mean, projectionHead, registerEncoder, registerLoss } from "@seed/distillation/parts";
registerEncoder({
  ...{ name: "faulty", family: "x", roles: ["student"], ssl: "moco", head: "mlp", features: 16 },
  trace(builder, images, head) {
    const stem = builder.convolution("stem", { inputs: 3, outputs: 16, kernel: 4, stride: 4 });
    if (images.shape[0] > 1) throw new RangeError("my encoder is wrong"); // not where its layers are looked at
    const feature = builder.graph.apply(globalAveragePool, [builder.convolve(images, stem)], {});
    return { feature, embedding: projectionHead(builder, "fc", 16, head)(feature) };
  },
});
const flat = { name: "flat", shape: ([x]) => [{ shape: x.shape }], lower() {} };
registerLoss("flat", (graph, { student }) => graph.apply(mean, [graph.apply(flat, [student], {})], {}));`,
  );
  const url = pathToFileURL(plugin);
  for (
    const [arch, loss, whose, error] of [
      ["faulty", "seed", `the plugin ${url} failed`, "my encoder is wrong"],
      // In no frame of the stack: the op's own function returned long ago.
      [
        "resnet18",
        "flat",
        `this is a bug in the plugin ${url}, or else in the program`,
        "flat has no gradient",
      ],
    ]
  ) {
    const { code, stderr } = await task(
      "distill",
      ...["--plugin", plugin, "-a", arch, "--loss", loss, "--data", join(folder.data, "train.tsv")],
      ...["--distill", SAMPLE_TEACHER, "--output", join(folder.path, arch), "-b", "4", "--queue", "16"],
      ...["--epochs", "1", "-j", "1", "--no-insight", "--no-tune"],
    );
    assertEquals(code, 1);
    const [line, cause] = stderr.slice(stderr.indexOf("error: ")).split("\n");
    assertStringIncludes(line, `error: ${whose}`, stderr);
    assertMatch(cause, new RegExp(`^in student_trainer: .*${error}$`), stderr);
    assertEquals(stderr.match(/restarting these actors/g)?.length, 1, stderr);
  }
});
