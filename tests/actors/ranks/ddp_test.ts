/** The steps of two ranks are those of PyTorch's DistributedDataParallel. */
import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import type channelExchange from "./channel_exchange.ts";
import { DeviceExchange } from "../../../actors/ranks/device_exchange.ts";
import { ActorSystem } from "../../../actors/runtime/mod.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { StudentStep } from "../../../methods/seed/step.ts";
import { findEncoder } from "../../../models/registry.ts";
import { relativeError, withGpu } from "../../kernels/check_op.ts";
import { formulaImages, formulaReader } from "../../models/reference_encoder.ts";
import { testWithPython } from "../../python.ts";
import { formulaTensor, GOLDEN_SEED } from "../../reference.ts";
import "../fixtures/tiny_encoder.ts";

/** How it was made is said in it, and is {@linkcode TRAIN}. */
const FILE = new URL("../../golden/ddp_steps.json", import.meta.url);

/** What PyTorch computed. */
interface Expected {
  /** The mean over both processes, of each step. */
  losses: number[];
  /** The first process's student after the last step, as its state_dict has it. */
  student: Record<string, number[]>;
  /** Every process's queue after it: the first number of each row. */
  queue: number[];
}

const [RANKS, STEPS, BATCH, SIDE, DIMENSION, QUEUE] = [2, 3, 16, 16, 10, 40];

/** Python: the same by two processes, as `methods/seed/step.ts` is said to be. Prints an {@linkcode Expected}. */
const TRAIN = `
import json, os, tempfile, zlib
import numpy as np, torch, torch.distributed as dist, torch.nn as nn, torch.nn.functional as F
RANKS, STEPS, BATCH, SIDE, DIMENSION, QUEUE = ${[RANKS, STEPS, BATCH, SIDE, DIMENSION, QUEUE].join(", ")}
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
def mix32(x):
    x ^= x >> np.uint32(16); x *= np.uint32(0x85ebca6b)
    x ^= x >> np.uint32(13); x *= np.uint32(0xc2b2ae35)
    return x ^ (x >> np.uint32(16))
def formula(name, shape, kind):
    i = np.arange(int(np.prod(shape)), dtype=np.uint32)
    bits = mix32(i * np.uint32(0x9e3779b1) + np.uint32(zlib.crc32(name.encode())))
    u = (bits >> np.uint32(8)) / 16777216
    values = {"weight": (2 * u - 1) * np.sqrt(6 / np.prod(shape[1:])), "gamma": 0.5 + u, "var": 0.5 + u,
              "small": 0.2 * u - 0.1, "image": 4 * u - 2, "unit": 2 * u - 1}[kind]
    return torch.from_numpy(values.astype(np.float32).astype(np.float64).reshape(shape))
def kind_of(key, shape):
    if key.endswith(".bias") or key.endswith("running_mean"): return "small"
    if key.endswith("running_var"): return "var"
    return "gamma" if len(shape) == 1 else "weight"
def keys_of(name, rows):
    return F.normalize(formula(name, [rows, DIMENSION], "unit")).float().double()
class Layer(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 8, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))
class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1, self.layer2 = Layer(3), Layer(8)
        self.fc = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, DIMENSION))
    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))
class Seed(nn.Module):
    def __init__(self):
        super().__init__()
        self.student, self.pointer = Student(), 0
        self.register_buffer("queue", keys_of("queue", QUEUE))
    def forward(self, images, teacher):
        def logits(of, temperature):
            own = (of * teacher).sum(1, keepdim=True)
            return torch.cat([own, of @ self.queue.clone().T], 1) / temperature
        labels = F.softmax(logits(teacher, 0.05), 1)
        loss = -(labels * F.log_softmax(logits(F.normalize(self.student(images)), 0.2), 1)).sum(1).mean()
        gathered = [torch.empty_like(teacher) for _ in range(RANKS)]
        dist.all_gather(gathered, teacher)
        rows = torch.arange(self.pointer, self.pointer + BATCH) % QUEUE
        self.queue[rows] = torch.cat(gathered)
        self.pointer = (self.pointer + BATCH) % QUEUE
        return loss
def train(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    seed = Seed()
    for key, value in seed.student.state_dict().items():
        if value.dtype != torch.int64: value.copy_(formula(key, list(value.shape), kind_of(key, value.shape)))
    model = nn.parallel.DistributedDataParallel(seed)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-2)
    share = slice(rank * BATCH // RANKS, (rank + 1) * BATCH // RANKS)
    losses = []
    for step in range(STEPS):
        images = formula(f"input/ddp{step}", [BATCH, 3, SIDE, SIDE], "image")
        loss = model(images[share], keys_of(f"teacher{step}", BATCH)[share])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(mean.item() / RANKS)
    numbers = lambda tensor: [float(f"{value:.9g}") for value in tensor.flatten().tolist()]
    student = {key: numbers(value) for key, value in seed.student.state_dict().items() if value.dtype != torch.int64}
    if rank == 0: print(json.dumps({"losses": losses, "student": student, "queue": numbers(seed.queue[:, 0])}), flush=True)
    dist.barrier()
with tempfile.TemporaryDirectory() as folder:
    child = os.fork()
    train(0 if child else 1, folder)
    if child == 0: os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
`;

/** Rows of length 1. */
function keysOf(name: string, rows: number): Float32Array {
  const values = formulaTensor(name, [rows, DIMENSION], "unit", GOLDEN_SEED);
  for (let row = 0; row < rows; row++) {
    const key = values.subarray(row * DIMENSION, (row + 1) * DIMENSION);
    const norm = Math.hypot(...key);
    for (const [i, value] of key.entries()) key[i] = value / norm;
  }
  return values;
}

/** The steps of one rank. */
function train(gpu: Gpu, rank: number, channel: string) {
  const share = (values: Float32Array) =>
    values.slice(rank * values.length / RANKS, (rank + 1) * values.length / RANKS);
  const system = new ActorSystem({ oneThread: true });
  return system.run(async () => {
    const url = import.meta.resolve("./channel_exchange.ts");
    const config = { rank, size: RANKS, channel };
    const { ref } = system.spawn<typeof channelExchange>("gradient_exchange", url, config);
    using exchange = new DeviceExchange(gpu, { rank, size: RANKS }, ref);
    using student = await StudentStep.create(gpu, {
      encoder: findEncoder("tiny_convnet"),
      head: { kind: "mlp", dimension: DIMENSION },
      batch: BATCH / RANKS,
      ranks: RANKS,
      imageSize: SIDE,
      input: "normalized",
      queueSize: QUEUE,
      temperature: 0.2,
      teacherTemperature: 0.05,
      momentum: 0.9,
      weightDecay: 1e-2,
    }, exchange);
    await student.load(formulaReader(student.state, "", GOLDEN_SEED));
    student.queues[0].load(keysOf("queue", QUEUE));
    const losses: number[] = [];
    for (let step = 0; step < STEPS; step++) {
      const { loss } = await student.run({
        images: share(formulaImages(`input/ddp${step}`, BATCH, SIDE, GOLDEN_SEED)),
        teacher: share(keysOf(`teacher${step}`, BATCH)),
        learningRate: 0.1,
        queuePointer: step * BATCH % QUEUE,
      });
      losses.push(loss);
    }
    return { losses, values: await student.save(), queue: await student.queues[0].read() };
  });
}

Deno.test("parity: three steps of two ranks equal those of PyTorch's DistributedDataParallel", () =>
  withGpu(async (gpu) => {
    const { losses, student, queue }: Expected = JSON.parse(Deno.readTextFileSync(FILE));
    const channel = crypto.randomUUID();
    const ranks = await Promise.all(Array.from({ length: RANKS }, (_, rank) => train(gpu, rank, channel)));
    for (const [rank, found] of ranks.entries()) {
      for (const [step, loss] of losses.entries()) {
        assertAlmostEquals(found.losses[step], loss, 1e-5 * loss, `rank ${rank}, loss of step ${step}`);
      }
      const first = found.queue.filter((_, i) => i % DIMENSION === 0);
      assertLess(relativeError(first, queue), 1e-7, `rank ${rank}, queue`);
      assertEquals([...found.values.keys()].sort(), Object.keys(student).sort());
      for (const [key, values] of found.values) {
        // Statistics are of a rank's own rows.
        if (key.includes("running_") && rank > 0) assert(relativeError(values, student[key]) > 1e-3, key);
        else assertLess(relativeError(values, student[key]), 1e-4, `rank ${rank}, ${key}`);
      }
    }
  }));

testWithPython(
  "PyTorch's DistributedDataParallel gives the recorded steps",
  { torch: "python3-torch", numpy: "python3-numpy" },
  async (run) => {
    const found = await run(TRAIN) as unknown as Expected;
    const recorded = JSON.parse(Deno.readTextFileSync(FILE));
    if (Deno.env.get("SEED_RECORD") === "1") {
      return Deno.writeTextFileSync(FILE, JSON.stringify({ note: recorded.note, ...found }) + "\n");
    }
    const expected: Expected = recorded;
    assertLess(relativeError(found.losses, expected.losses), 1e-6);
    assertLess(relativeError(found.queue, expected.queue), 1e-6);
    assertEquals(Object.keys(found.student), Object.keys(expected.student));
    for (const [key, values] of Object.entries(expected.student)) {
      assertLess(relativeError(found.student[key], values), 1e-6, key);
    }
  },
);
