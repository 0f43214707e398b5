/** The lines of Python that an export prints, run in PyTorch and torchvision. Skipped where Python lacks them. */
import { assert, assertEquals } from "@std/assert";
import { exportEncoder } from "../../../models/export/export_encoder.ts";
import { pythonLines } from "../../../models/export/python_lines.ts";
import type { HeadOptions } from "../../../models/heads.ts";
import { IS_LONG } from "../../long.ts";
import { testWithPython } from "../../python.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { type ShapeOptions, writeShapes } from "../shape_checkpoint.ts";

const DEFAULTS = { imageSize: 64, normalize: false, force: true } as const;

const MLP: HeadOptions = { kind: "mlp", dimension: 16, hidden: 24 };

/** Each kind of encoder and head, in its framework's checkpoint. The tensors of the model are counted in Python. */
const CASES: [arch: string, options: ShapeOptions, tensors: { backbone: number; encoder: number }][] = [
  ["resnet18", { prefix: "module.encoder_q.", head: MLP }, { backbone: 120, encoder: 124 }],
  ["resnet18", { prefix: "module.student.", head: { kind: "linear", dimension: 16 } }, {
    backbone: 120,
    encoder: 122,
  }],
  ["resnet18_cifar", { prefix: "module.encoder_q.", head: MLP }, { backbone: 120, encoder: 124 }],
  ["resnet18_cifar_pad2", { prefix: "module.encoder_q.", head: MLP }, { backbone: 120, encoder: 124 }],
  ["resnet50", {}, { backbone: 318, encoder: 322 }],
  ["simclr_resnet50", { prefix: "module.module." }, { backbone: 318, encoder: 327 }],
  ["swav_resnet50", { head: { kind: "mlp_bn", dimension: 16, hidden: 24 } }, { backbone: 318, encoder: 327 }],
  // These have no model in torchvision: the lines give the tensors.
  ["mobilenetv3_small", { head: MLP }, { backbone: 242, encoder: 246 }],
  ["efficientnet_b0", {}, { backbone: 358, encoder: 362 }],
];

/** Python: a module for safetensors where there is none, then every script; how many tensors its result has. */
const RUN = `
import contextlib, io, json, struct, sys, types
import numpy, torch, torchvision
try: import safetensors.torch
except ImportError:
    def load_file(path):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)); header.pop("__metadata__", None)
            data = file.read()
        types_ = {"F16": torch.float16, "I64": torch.int64}
        return {key: torch.frombuffer(bytearray(data[slice(*entry["data_offsets"])]), dtype=types_[entry["dtype"]])
                .reshape(entry["shape"]) for key, entry in header.items()}
    safetensors = types.SimpleNamespace(torch=types.SimpleNamespace(load_file=load_file))
counts = []
for lines in json.load(open(sys.argv[1])):
    scope = {"torch": torch, "torchvision": torchvision, "safetensors": safetensors}
    if len(lines) == 1: counts.append(len(eval(lines[0], scope)))
    else:
        exec("\\n".join(lines), scope)
        model = scope["model"].eval()
        with torch.no_grad(): model(torch.zeros(1, 3, 32, 32))
        counts.append(len(model.state_dict()))
print(json.dumps({"counts": counts}))`;

testWithPython(
  "parity: every line of Python that an export prints runs: each encoder, head, part, names and container",
  { torch: "python3-torch", numpy: "python3-numpy", torchvision: "python3-torchvision" },
  async (run) => {
    await withFolder(async (folder) => {
      const scripts: string[][] = [];
      const expected: number[] = [];
      for (const [i, [arch, options, tensors]] of CASES.entries()) {
        if (!IS_LONG && /50|efficientnet/.test(arch)) continue; // seconds each
        const checkpoint = `${folder}/${i}.pth.tar`;
        await writeShapes(checkpoint, arch, options);
        for (const part of ["backbone", "encoder"] as const) {
          // A model is made for each of them, which takes long in Python: a ResNet-18 has them all, the others the first.
          const kinds = [["pth", undefined], ["pth", "plain"], ["pth", "moco"], [
            "safetensors",
            "seed",
          ]] as const;
          for (const [format, names] of kinds.slice(i === 0 ? 0 : 1, i < 2 ? 4 : 2)) {
            const output = `${folder}/${i}_${part}_${names}.${format}`;
            const request = { ...DEFAULTS, checkpoint, output, arch, format, part, names };
            const result = await exportEncoder(request);
            const lines = pythonLines({ ...request, ...result });
            assertEquals(lines.length > 1, !/mobilenet|efficientnet/.test(arch), lines.join("\n"));
            scripts.push(lines);
            expected.push(tensors[part]);
          }
        }
      }
      Deno.writeTextFileSync(`${folder}/scripts.json`, JSON.stringify(scripts));
      const { counts } = await run(RUN, `${folder}/scripts.json`);
      assertEquals(counts, expected);
      assert(scripts.length >= 16);
    });
  },
);

Deno.test("pythonLines() names the ONNX output that was asked for", () => {
  const base = {
    format: "onnx",
    files: ["/a b.onnx"],
    names: undefined,
    encoder: "resnet18",
    head: undefined,
  } as const;
  const lines = (part: "backbone" | "encoder", normalize: boolean) =>
    pythonLines({ ...base, part, normalize });
  const line = (output: string) => [
    `onnxruntime.InferenceSession("/a b.onnx").run(["${output}"], {"images": images})`,
  ];
  assertEquals(lines("backbone", false), line("feature"));
  assertEquals(lines("encoder", false), line("embedding"));
  assertEquals(lines("encoder", true), line("normalized"));
});
