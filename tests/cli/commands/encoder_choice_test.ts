// Which encoder, which data and which views a task was told reach its actors: by their flags, as the programs pass them on.
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runEmbedding } from "../../../methods/embedding.ts";
import { runLinearEvaluation } from "../../../methods/linear_probe/run.ts";
import { knn } from "../../../methods/runs.ts";
import { checkKnnInputs, checkLinclsInputs } from "../../../cli/flags/inputs.ts";
import { parseKnnFlags } from "../../../cli/flags/knn_flags.ts";
import { parseLinclsFlags } from "../../../cli/flags/lincls_flags.ts";
import { OrderedDict, TensorValue, torchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { findEncoder, summarize } from "../../../models/registry.ts";
import { drawTeacher } from "../../actors/drawn_teacher.ts";
import { RunFolder, TINY_ENCODER } from "../../actors/small_run.ts";
import { hostPrograms } from "../run_program.ts";

const runProgram = hostPrograms();
const EMBED = fileURLToPath(new URL("../../../cli/commands/embed.ts", import.meta.url));
const PLUGIN = fileURLToPath(TINY_ENCODER);
const HEAD = { kind: "mlp", dimension: 20 } as const;
const CONTEXT = { encoders: ["resnet18", "tiny_convnet"], folder: "/" };

/** A teacher alone, and beside a student in the checkpoint of a distillation. */
async function writeEncoders(folder: RunFolder): Promise<{ both: string; teacher: string }> {
  const [both, teacher] = ["both.pth.tar", "teacher.pth.tar"].map((name) => join(folder.path, name));
  const { state } = summarize(findEncoder("tiny_convnet"), HEAD, 32);
  const shapes = new Map(state.map(({ key, shape }) => [key, shape]));
  const tensors: [string, TensorValue][] = [];
  for (const [role, seed] of [["student", 5], ["teacher", 1]] as const) {
    const { values } = await drawTeacher(teacher, "tiny_convnet", HEAD, seed); // the teacher is the last one
    for (const [key, data] of values) {
      tensors.push([`module.${role}.${key}`, new TensorValue("float32", [...shapes.get(key)!], data)]);
    }
  }
  await writeTorchFile(both, torchDict([["epoch", 1], ["state_dict", new OrderedDict(tensors)]]));
  return { both, teacher };
}

Deno.test("knn evaluates the encoder of --which, and fresh weights of --seed", async () => {
  using folder = new RunFolder(60, 40);
  const { both, teacher } = await writeEncoders(folder);
  const evaluate = async (...args: string[]) => {
    const flags = ["-a", "tiny_convnet", "-k", "3", "--image-size", "16", "--plugin", PLUGIN, folder.data];
    const command = parseKnnFlags([...args, ...flags], CONTEXT);
    assert(command.help === undefined);
    await checkKnnInputs(command.request);
    const [{ top1 }] = await knn(command.request).result;
    return top1;
  };
  const [ofStudent, ofTeacher] = [
    await evaluate("--pretrained", both),
    await evaluate("--pretrained", teacher),
  ];
  assertNotEquals(ofStudent, ofTeacher);
  assertEquals(await evaluate("--pretrained", both, "--which", "teacher"), ofTeacher);
  // The teacher is the fresh encoder of seed 1, but for its head.
  assertEquals(await evaluate("--seed", "1"), ofTeacher);
});

Deno.test("lincls evaluates the encoder of --which", async () => {
  using folder = new RunFolder(12, 4);
  const { both, teacher } = await writeEncoders(folder);
  const lossOf = async (...args: string[]) => {
    const flags = "--epochs 1 -b 8 -j 1 --image-size 16 --cache-features --lr 0.1 --plugin".split(" ");
    const output = ["--output", folder.makeOutput(crypto.randomUUID())];
    const command = parseLinclsFlags([...args, ...flags, PLUGIN, ...output, folder.data], CONTEXT);
    assert(command.help === undefined && command.method === "linear_probe");
    const losses: number[] = [];
    await runLinearEvaluation(await checkLinclsInputs(command.options), (event) => {
      if (event.type === "step") losses.push(event.score.loss);
    });
    return losses;
  };
  const [ofStudent, ofTeacher] = [
    await lossOf("--pretrained", both, "-a", "tiny_convnet"),
    await lossOf("--pretrained", teacher, "-a", "tiny_convnet"),
  ];
  assertNotEquals(ofStudent, ofTeacher);
  assertEquals(await lossOf("--pretrained", both, "--which", "teacher", "-a", "tiny_convnet"), ofTeacher);
});

Deno.test("embed does as --which, --part, --split and --image-size say", async () => {
  using folder = new RunFolder(6, 3);
  const { both, teacher } = await writeEncoders(folder);
  const output = join(folder.path, "e.jsonl");
  const { code, stderr } = await runProgram(
    EMBED,
    ...["--pretrained", both, "-a", "tiny_convnet", "--which", "teacher", "--part", "encoder"],
    ...["--split", "test", "--image-size", "16", "--plugin", PLUGIN, "-o", output, folder.data],
  );
  assertEquals(code, 0, stderr);
  const written = Deno.readTextFileSync(output).trimEnd().split("\n").map((line) => JSON.parse(line));
  const embed = async (imageSize: number) => {
    const rows: number[][] = [];
    await runEmbedding({
      ...{ encoder: { path: teacher, arch: "tiny_convnet" }, part: "encoder", dimension: 20 },
      ...{ data: join(folder.data, "test.tsv"), imageSize, batchSize: 8, workers: 1, neighbours: null },
      plugins: [TINY_ENCODER],
    }, (event) => {
      if (event.type !== "rows") return;
      const { embeddings } = event;
      for (let at = 0; at < embeddings.length; at += 20) rows.push([...embeddings.slice(at, at + 20)]);
    });
    return rows;
  };
  const expected = await embed(16);
  assertEquals(expected.length, 3);
  const float = (rows: number[][]) => rows.map((row) => row.map(Math.fround));
  assertEquals(float(written.map(({ embedding }) => embedding)), expected);
  assertNotEquals(await embed(32), expected);
});

/** A checkpoint as MoCo writes it, with both of its encoders. */
async function writeMoco(folder: RunFolder): Promise<string> {
  const path = join(folder.path, "moco.pth.tar");
  const { state } = summarize(findEncoder("tiny_convnet"), HEAD, 32);
  const shapes = new Map(state.map(({ key, shape }) => [key, shape]));
  const tensors: [string, TensorValue][] = [];
  for (const [side, seed] of [["encoder_q", 5], ["encoder_k", 1]] as const) {
    const { values } = await drawTeacher(join(folder.path, `${side}.pth`), "tiny_convnet", HEAD, seed);
    for (const [key, data] of values) {
      tensors.push([`module.${side}.${key}`, new TensorValue("float32", [...shapes.get(key)!], data)]);
    }
  }
  await writeTorchFile(path, torchDict([["epoch", 1], ["state_dict", new OrderedDict(tensors)]]));
  return path;
}

Deno.test("every task says which side of a MoCo checkpoint it takes, and how the other is chosen", async () => {
  using folder = new RunFolder(12, 6);
  const moco = await writeMoco(folder);
  const { data } = folder;
  const plugin = ["--plugin", PLUGIN];
  const views = [...plugin, "--image-size", "16"];
  const linear = ["--epochs", "1", "-b", "4", "-j", "1", "--lr", "0.1", "--cache-features", "--no-tune"];
  const seed = ["-b", "4", "--queue", "16", "-j", "1", "--limit-steps", "1", "--dim", "20", "--no-tune"];
  const tasks: Record<string, string[]> = {
    distill: ["--distill", moco, "--data", data, "-a", "tiny_convnet", ...seed, ...views],
    lincls: ["--pretrained", moco, ...linear, ...views, data],
    knn: ["--pretrained", moco, "-k", "3", ...views, data],
    embed: ["--pretrained", moco, ...views, data],
    export: [...views, moco],
    inspect: [...plugin, moco],
  };
  const outputs: Record<string, string> = { distill: "", lincls: "", embed: ".csv", export: ".pth" };
  const left = "its momentum encoder is ignored, --weights module.encoder_k selects it";
  for (const [task, args] of Object.entries(tasks)) {
    const program = fileURLToPath(new URL(`../../../cli/commands/${task}.ts`, import.meta.url));
    const run = (name: string, ...more: string[]) => {
      const output = task in outputs
        ? ["--output", join(folder.path, `${task}_${name}${outputs[task]}`)]
        : [];
      return runProgram(program, ...args, ...output, ...more);
    };
    const { code, stdout, stderr } = await run("q");
    assertEquals(code, 0, `${task}: ${stderr}`);
    assertEquals((stdout + stderr).split(left).length, 2, `${task}: ${stdout}${stderr}`);
    const chosen = await run("k", "--weights", "module.encoder_k");
    assertEquals(chosen.code, 0, `${task}: ${chosen.stderr}`);
    assertStringIncludes(chosen.stdout + chosen.stderr, "the encoder is under encoder_k.", task);
  }
});
