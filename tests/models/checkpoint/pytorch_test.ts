/** Files that go from here to PyTorch and from PyTorch to here. Skipped where Python has no torch. */
import { assertAlmostEquals, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { buildTrainingCheckpoint } from "../../../methods/encoder_training/checkpoint.ts";
import { DISTILL_CHECKPOINT } from "../../../methods/seed/checkpoint.ts";
import { Random } from "../../../data/random.ts";
import { buildAdamWState, readAdamWState, readAdamWSteps } from "../../../models/checkpoint/adamw_state.ts";
import { CheckpointError } from "../../../models/checkpoint/checkpoint_error.ts";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import type { NamedTensor } from "../../../models/checkpoint/named_tensor.ts";
import { TensorRef } from "../../../models/checkpoint/tensor_ref.ts";
import { openCheckpointFile } from "../../../models/checkpoint/checkpoint_file.ts";
import { TensorValue, torchDict } from "../../../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../../../models/checkpoint/torch_writer.ts";
import { type RunPython, testWithPython } from "../../python.ts";
import { referenceJson } from "../../reference.ts";
import { withFolder } from "./fixtures.ts";

function testWithPyTorch(name: string, body: (run: RunPython) => Promise<void>): void {
  testWithPython(name, { torch: "python3-torch", numpy: "python3-numpy" }, body);
}

function toHex(array: ArrayBufferView): string {
  return new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength).toHex();
}

/** Python: every tensor of a tree by its path, as dtype, shape and the bytes in row-major order. */
const DESCRIBE = `
import argparse, collections, datetime, decimal, json, pathlib, sys, types, uuid
import numpy, torch
def describe(value, path, into):
    if isinstance(value, torch.Tensor):
        flat = value.detach().contiguous().reshape(-1)
        raw = flat.view(torch.int16) if flat.dtype == torch.bfloat16 else flat
        into[path] = [str(value.dtype)[6:], list(value.shape), raw.numpy().tobytes().hex()]
    elif isinstance(value, dict):
        for key, item in value.items(): describe(item, path + "/" + str(key), into)
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value): describe(item, path + "/" + str(key), into)
    return into
`;

async function describe(value: unknown, path: string, into: Record<string, unknown>): Promise<typeof into> {
  if (value instanceof TensorRef) into[path] = [value.dtype, [...value.shape], toHex(await value.readRaw())];
  else if (value instanceof TensorValue) into[path] = [value.dtype, [...value.shape], toHex(value.data)];
  else if (value instanceof Map) {
    for (const [key, item] of value) await describe(item, `${path}/${key}`, into);
  } else if (Array.isArray(value)) {
    for (const [key, item] of value.entries()) await describe(item, `${path}/${key}`, into);
  }
  return into;
}

/** A ResNet-18's own keys, with small sizes. */
function smallResNet(random: Random): NamedTensor[] {
  const keys: [string, number[]][] = referenceJson("architectures.json").resnet18.state_dict;
  return keys.map(([key, full]) => {
    const shape = full.map((dim) => Math.min(dim, 3));
    const size = shape.reduce((a, b) => a * b, 1);
    return key.endsWith("num_batches_tracked")
      ? { key, dtype: "int64", shape, data: BigInt64Array.of(7n) }
      : { key, shape, data: Float32Array.from({ length: size }, () => random.normal()) };
  });
}

testWithPyTorch(
  "parity: a written checkpoint loads in PyTorch: same bits, strictly, with its optimizer",
  async (runJson) => {
    const random = new Random(1, "checkpoint for PyTorch");
    const student = smallResNet(random);
    const momentum = new Map(
      student.filter(({ key }) => /(weight|bias)$/.test(key))
        .map(({ key, data }) => [key, Float32Array.from(data as Float32Array, (x) => x / 2)]),
    );
    const value = buildTrainingCheckpoint(DISTILL_CHECKPOINT, {
      epoch: 3,
      arch: "resnet18",
      encoder: student,
      beside: smallResNet(random),
      queue: { shape: [2, 4], data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
      queuePointer: 2,
      sgd: { lr: 1, momentum: 0.9, weightDecay: 1e-4 },
      momentum,
      resume: torchDict([
        ["step", 2n ** 40n],
        ["halves", new TensorValue("float16", [2], Uint16Array.of(0x3c00, 0xc000))],
        ["brains", new TensorValue("bfloat16", [2], Uint16Array.of(0x3f80, 0xc000))],
        ["flags", new TensorValue("bool", [2], Uint8Array.of(0, 1))],
        ["empty", new TensorValue("float32", [0, 3], new Float32Array())],
      ]),
    });
    const script = `${DESCRIBE}
checkpoint = torch.load(sys.argv[1])
weights = checkpoint["state_dict"]
assert type(weights) is collections.OrderedDict, type(weights)
model = torch.nn.Module()
for key, tensor in weights.items():
    *path, name = key.split(".")
    module = model
    for part in path:
        if part not in module._modules: module.add_module(part, torch.nn.Module())
        module = module._modules[part]
    buffer = name.startswith(("running_", "num_batches", "queue"))
    if buffer: module.register_buffer(name, torch.zeros_like(tensor))
    else: module.register_parameter(name, torch.nn.Parameter(torch.zeros_like(tensor), "student" in key))
model.load_state_dict(weights, strict=True)
optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.1)
optimizer.load_state_dict(checkpoint["optimizer"])
group = optimizer.param_groups[0]
names = {parameter: name for name, parameter in model.named_parameters()}
buffers = {names[p]: s["momentum_buffer"] for p, s in optimizer.state.items()}
assert all(buffers[name].shape == weights[name].shape for name in buffers)
assert all(torch.equal(buffers[name], weights[name] / 2) for name in buffers)
for parameter in model.parameters():
    if parameter.requires_grad: parameter.grad = torch.ones_like(parameter)
optimizer.step()
print(json.dumps({
    "tensors": describe(checkpoint, "", {}), "momenta": len(buffers), "lr": repr(group["lr"]),
    "settings": [group["momentum"], group["weight_decay"], group["nesterov"]],
    "plain": [checkpoint["epoch"], checkpoint["arch"], checkpoint["seed_resume"]["step"]],
}))`;
    await withFolder(async (folder) => {
      const path = `${folder}/student.pth.tar`;
      await writeTorchFile(path, value);
      const loaded = await runJson(script, path);
      assertEquals(loaded.tensors, await describe(value, "", {}));
      assertEquals(loaded.momenta, momentum.size);
      assertEquals([loaded.lr, loaded.settings], ["1.0", [0.9, 1e-4, false]]);
      assertEquals(loaded.plain, [3, "resnet18", 2 ** 40]);
    });
  },
);

const SAVE = `${DESCRIBE}
torch.manual_seed(1)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
model = torch.nn.Module()
model.encoder_q, model.encoder_k = net, torch.nn.Linear(3, 4)
model = torch.nn.DataParallel(model)
optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
adam = torch.optim.Adam(net.parameters(), 0.1)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
for _ in range(2):
    net(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step(); adam.step()
base = torch.randn(6, 8)
value = {
    "epoch": 9, "arch": "resnet50", "best_acc1": numpy.float64(71.25), "count": numpy.int64(-5),
    "flag": numpy.bool_(True), "single": numpy.float32(0.5), "seed": 2 ** 70,
    "args": argparse.Namespace(lr=0.1, schedule=[120, 160], path=None),
    "state_dict": model.state_dict(), "optimizer": optimizer.state_dict(),
    "extra": {
        "adam": adam.state_dict(), "counts": collections.defaultdict(list, {"a": [1]}), "dtype": torch.float16,
        "scheduler": scheduler.state_dict(), "size": torch.Size([2, 3]), "device": torch.device("cpu"),
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "expanded": torch.randn(1, 5).expand(4, 5), "base": base, "view": base[1:4, 2:6].t(), "row": base[3],
        "parameter": torch.nn.Parameter(torch.randn(2)), "half": torch.randn(7).half(), "set": {1, 2},
        "brain": torch.randn(7).bfloat16(), "short": torch.arange(5, dtype=torch.int16), "rng": torch.get_rng_state(),
        "large": torch.arange(400000, dtype=torch.float64), "bytes": b"\\x00\\xff", "double": torch.tensor(0.1).double(),
        "array": numpy.arange(6).reshape(2, 3), "path": pathlib.Path("/data"), "when": datetime.datetime(2025, 11, 25),
        "deque": collections.deque([1, 2], 5), "slice": slice(1, 2), "complex": 1j, None: "none", (1, 2): "tuple",
        "frozen": frozenset([3]), "array_bytes": bytearray(b"ab"), "criterion": torch.nn.CrossEntropyLoss(),
        "labels": list(numpy.unique(numpy.array(["cat", "dog"]))), "day": numpy.datetime64("2025-11-25"),
        "long": numpy.longdouble(3), "complex64": numpy.complex64(1j), "version": torch.__version__,
        "decimal": decimal.Decimal("1.5"), "range": range(1, 9, 2), "uuid": uuid.UUID(int=2**100),
        "simple": types.SimpleNamespace(lr=0.1, epochs=3),
        "zone": datetime.timezone(datetime.timedelta(hours=2)),
    },
}
torch.save(value, sys.argv[1])
torch.save(value, sys.argv[2], _use_new_zipfile_serialization=False)
torch.save(value, sys.argv[3], pickle_protocol=5)
for protocol, path in zip((1, 3, 4, 5), sys.argv[4:8]):
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
torch.save(value, sys.argv[8])
with open(sys.argv[8], "ab") as file: file.write(b"\\0" * 512)
torch.load(sys.argv[8]) # PyTorch too passes over the bytes behind the archive
print(json.dumps(describe(value, "", {})))`;

testWithPyTorch(
  "parity: whatever PyTorch saves is read with the same bits, in both containers",
  async (runJson) => {
    await withFolder(async (folder) => {
      const paths = [
        ...["zip", "legacy", "protocol5"],
        ...[1, 3, 4, 5].map((protocol) => `legacy_protocol${protocol}`),
        "padded",
      ].map((name) => `${folder}/${name}.pth.tar`);
      const expected = await runJson(SAVE, ...paths);
      for (const path of paths) {
        using file = await openCheckpointFile(path);
        assertEquals(file.container, path.includes("legacy") ? "legacy" : "zip");
        assertEquals(await describe(file.value, "", {}), expected);
        assertInstanceOf(file.value, Map);
        const plain = ["epoch", "best_acc1", "count", "flag", "single", "seed"].map((key) =>
          (file.value as Map<string, unknown>).get(key)
        );
        assertEquals(plain, [9, 71.25, -5, true, 0.5, 2n ** 70n]);
        const args = torchDict([["lr", 0.1], ["schedule", [120, 160]], ["path", null]]);
        assertEquals(file.value.get("args"), args);
        const extra = file.value.get("extra") as Map<string, unknown>;
        assertEquals(extra.get("counts"), torchDict([["a", [1]]]));
        assertEquals(
          (extra.get("scheduler") as Map<string, unknown>).get("milestones"),
          torchDict([[3, 1], [5, 1]]),
        );
        assertEquals(
          ["size", "device", "dtype", "set", "bytes"].map((key) => extra.get(key)),
          [[2, 3], "cpu", "torch.float16", [1, 2], Uint8Array.of(0, 255)],
        );

        assertEquals(
          ["path", "deque", "slice", "complex", null, "frozen"].map((key) => extra.get(key as string)),
          ["/data", [1, 2], [1, 2, null], [0, 1], "none", [3]],
        );
        assertEquals(extra.get("array_bytes"), new TextEncoder().encode("ab"));
        assertEquals(
          ["decimal", "range", "uuid", "simple", "zone"].map((key) => extra.get(key)),
          [
            ["1.5"],
            [1, 9, 2],
            torchDict([["int", 2n ** 100n]]),
            torchDict([["lr", 0.1], ["epochs", 3]]),
            [[0, 7200, 0]],
          ],
        );
        assertMatch(extra.get("version") as string, /^\d+\.\d+/);
        assertEquals((extra.get("criterion") as Map<string, unknown>).size, 0);
        assertEquals(
          ["labels", "day", "long"].map((key) =>
            [extra.get(key)].flat().map((item) => item instanceof Uint8Array)
          ),
          [[true, true], [true], [true]],
        );
        const array = extra.get("array") as Map<string, unknown>;
        assertEquals([array.get("shape"), array.get("dtype")], [[2, 3], "i8"]);
        assertEquals(array.get("data"), new Uint8Array(BigInt64Array.of(0n, 1n, 2n, 3n, 4n, 5n).buffer));

        using state = await loadStateDict(path);
        assertEquals([state.framework, state.arch, state.epoch], ["moco", "resnet50", 9]);
        assertEquals([...state.tensors.keys()].slice(0, 3), ["0.weight", "1.weight", "1.bias"]);
      }
    });
  },
);

testWithPyTorch(
  "torch.optim.AdamW loads the state that a run with AdamW saves, and what it saves is read",
  async (run) => {
    await withFolder(async (folder) => {
      const entries = [
        { key: "cls_token", shape: [1, 1, 4] },
        { key: "fc.weight", shape: [2, 4] },
        { key: "fc.bias", shape: [2] },
        { key: "norm.weight", shape: [4] },
      ];
      const random = new Random(8, "adamw");
      const draw = () =>
        new Map(entries.map(({ key, shape }) => {
          const size = shape.reduce((a, b) => a * b, 1);
          return [key, Float32Array.from({ length: size }, () => random.uniform(0.1, 1))];
        }));
      const moments = { averages: draw(), squares: draw() };
      const settings = { betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.25 } as const;
      const state = buildAdamWState(settings, [{ lr: 0.5, entries }], moments, 7);
      await writeTorchFile(`${folder}/state.pth`, state);
      // Weights of one and gradients of zero: what a step does follows from the moments alone.
      const found = await run(
        `
import json, sys, torch
shapes = {"cls_token": (1, 1, 4), "fc.weight": (2, 4), "fc.bias": (2,), "norm.weight": (4,)}
p = {key: torch.nn.Parameter(torch.ones(shape)) for key, shape in shapes.items()}
groups = [{"params": [p["fc.weight"]]}, {"params": [p[k] for k in ("cls_token", "fc.bias", "norm.weight")], "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=1e-3)
optimizer.load_state_dict(torch.load(sys.argv[1] + "/state.pth"))
for value in p.values(): value.grad = torch.zeros_like(value)
optimizer.step()
torch.save(optimizer.state_dict(), sys.argv[1] + "/after.pth")
print(json.dumps({key: value.detach().flatten().tolist() for key, value in p.items()}))
`,
        folder,
      );
      for (const { key } of entries) {
        const decay = key === "fc.weight" ? 1 - 0.5 * 0.25 : 1;
        for (const [i, value] of (found[key] as number[]).entries()) {
          const [average, square] = [moments.averages.get(key)![i], moments.squares.get(key)![i]];
          const mean = 0.9 * average / (1 - 0.9 ** 8);
          const deviation = Math.sqrt(0.999 * square / (1 - 0.999 ** 8)) + 1e-8;
          assertAlmostEquals(value, decay - 0.5 * mean / deviation, 1e-5, key);
        }
      }
      using file = await openCheckpointFile(`${folder}/after.pth`);
      const wrong = (problem: string) => new CheckpointError(file.path, problem);
      const saved = readAdamWState(file.value, [entries], wrong);
      assertEquals(await readAdamWSteps(saved, wrong), 8);
      assertEquals([...saved.averages.keys()].toSorted(), entries.map(({ key }) => key).toSorted());
      const [average] = await saved.averages.get("norm.weight")!.read();
      assertAlmostEquals(average, 0.9 * moments.averages.get("norm.weight")![0], 1e-6);
      assertThrows(
        () => readAdamWState(file.value, [entries.toReversed()], wrong),
        CheckpointError,
        "does not fit it",
      );
    });
  },
);
