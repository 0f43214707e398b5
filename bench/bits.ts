/**
 * Whether a change of the program leaves the bits alone: short runs of fixed settings, and the SHA-256 of what each writes.
 *
 *     deno run -A bench/bits.ts                     of this tree
 *     deno run -A bench/bits.ts ../seed-before      of another one; both print the same lines, or a number has changed
 *
 * Bits are the same on one adapter, by one table of kernels: that is measured by the first run on a machine, and kept.
 */
import { join, resolve } from "node:path";
import { describeAdapter } from "../kernels/gpu.ts";

const root = resolve(Deno.args[0] ?? ".");
const folder = Deno.makeTempDirSync({ prefix: "seed_bits_" });
const data = join(folder, "data");
const plugin = join(root, "examples/custom_encoder.ts");
const tiny = ["--plugin", plugin, "-a", "tiny_convnet", "--queue", "64"];
const teacher = join(root, "data/sample/resnet18_moco_v2_cifar10.pth.tar");
const shared = [
  ...["--data", data, "--distill", teacher, "--image-size", "32", "-b", "32", "--warmup-epochs", "0"],
  ...["--epochs", "3", "--limit-steps", "6", "--no-insight", "--no-tensorboard"],
];

/** Runs a task of the tree, and fails as it does. */
async function runTask(...args: string[]): Promise<void> {
  const { code, stderr, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", ...args],
    cwd: root,
  }).output();
  if (code === 0) return;
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  console.error(`${args.join(" ")}: exit ${code}\n${decode(stdout)}${decode(stderr)}`);
  Deno.exit(1);
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

/** A distillation in a folder of its name. */
async function distil(name: string, ...flags: string[]): Promise<string> {
  const output = join(folder, name);
  await runTask("distill", "--output", output, ...shared, ...flags);
  await report(name, checkpointOf(output));
  return output;
}

try {
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
} finally {
  Deno.removeSync(folder, { recursive: true });
}
