/**
 * Whether a change of the program leaves the bits alone: short runs of fixed settings, and the SHA-256 of what each writes.
 * `deno task bench:bits [TREE]`; `--help` says more.
 *
 * Bits are the same on one adapter, by one table of kernels: that is measured by the first run on a machine, and kept.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../cli/flags/flags.ts";
import { resolvePath } from "../cli/flags/paths.ts";
import { runMain } from "../cli/terminal/run_main.ts";
import { UserError } from "../errors.ts";
import { describeAdapter } from "../kernels/gpu.ts";

const THIS_TREE = fileURLToPath(new URL("../", import.meta.url));

const HELP = `Usage: deno task bench:bits [TREE]

Trains for some steps by several settings, and prints the SHA-256 of what each writes: of this tree, or of that in the
folder TREE. Two trees print the same lines on one adapter, or a change between them has changed a number.`;

/** Runs the tasks of a tree, in a folder of their own. */
async function printBits(root: string, folder: string): Promise<void> {
  const data = join(folder, "data");
  const plugin = join(root, "examples/custom_encoder.ts");
  const tiny = ["--plugin", plugin, "-a", "tiny_convnet", "--queue", "64"];
  const teacher = join(root, "data/sample/resnet18_moco_v2_cifar10.pth.tar");
  const shared = [
    ...["--data", data, "--distill", teacher, "--image-size", "32", "-b", "32", "--warmup-epochs", "0"],
    ...["--epochs", "3", "--limit-steps", "6", "--no-insight", "--no-tensorboard"],
  ];

  /** A distillation in a folder of its name. */
  async function distil(name: string, ...flags: string[]): Promise<string> {
    const output = join(folder, name);
    await runTask(root, "distill", "--output", output, ...shared, ...flags);
    await report(name, checkpointOf(output));
    return output;
  }

  Deno.mkdirSync(data);
  const rows = Deno.readTextFileSync(join(root, "data/sample/train.tsv")).split("\n");
  Deno.writeTextFileSync(join(data, "train.tsv"), rows.slice(0, 128).join("\n") + "\n");
  await distil("mobilenet");
  await distil("fixed-loss-scale", "--on-nan", "skip", ...tiny);
  if ((await describeAdapter()).hasHalf) await distil("mixed-precision", "--amp", ...tiny);
  await distil("local-views", ...tiny, "--small-views", "2", "--small-size", "16");
  await distil("recomputed", "--checkpoint-activations", ...tiny);
  const first = await distil("first-half", ...tiny);
  await distil("resumed", ...tiny, "--resume", checkpointOf(first));

  const probe = join(folder, "probe");
  const encoder = ["--plugin", plugin, "--pretrained", checkpointOf(first), "--image-size", "32"];
  Deno.writeTextFileSync(join(data, "test.tsv"), rows.slice(128, 192).join("\n") + "\n");
  await runTask(
    root,
    "lincls",
    data,
    "--output",
    probe,
    ...encoder,
    "--epochs",
    "2",
    "-b",
    "64",
    "--no-tensorboard",
  );
  await report("linear-probe", join(probe, "model_best.pth.tar"));
}

/** Runs a task of the tree, and fails as it does. */
async function runTask(root: string, ...args: string[]): Promise<void> {
  const { code, stderr, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", ...args],
    cwd: root,
  }).output();
  if (code === 0) return;
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  throw new UserError(`${args.join(" ")}: exit ${code}\n${decode(stdout)}${decode(stderr)}`);
}

/** The newest checkpoint of a folder. */
function checkpointOf(output: string): string {
  const names = [...Deno.readDirSync(output)].map(({ name }) => name).filter((name) =>
    /\.pth\.tar$/.test(name)
  );
  return join(output, names.sort().at(-1)!);
}

async function report(name: string, file: string): Promise<void> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(file))).toHex();
  console.log(`${name.padEnd(24)}${digest}`);
}

async function main(): Promise<void> {
  const [tree = THIS_TREE, ...more] = Deno.args;
  if (tree === "--help") {
    console.log(HELP);
    return;
  }
  if (tree.startsWith("-") || more.length > 0) {
    throw new UsageError(`expected the folder of a tree, found ${Deno.args.join(" ")}; see --help`);
  }
  const folder = Deno.makeTempDirSync({ prefix: "seed_bits_" });
  try {
    await printBits(resolvePath(tree), folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) await runMain(main);
