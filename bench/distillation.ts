/** A distillation step by step at full load: this project, and PyTorch on the same card. */
import type { Gpu } from "../kernels/gpu.ts";
import { FrozenEncoder } from "../models/inference.ts";
import { initialize, initializeQueue } from "../models/initialize.ts";
import { findEncoder, summarize } from "../models/registry.ts";
import { StudentStep } from "../methods/seed/step.ts";
import { INITIAL_LOSS_SCALE } from "../kernels/ops/loss_scale/loss_scale.ts";
import { median, type Timing } from "./measure.ts";

/** What is run. */
export interface DistillationWork {
  teacher: string;
  student: string;
  batch: number;
  imageSize: number;
  /** Keep maps of pixels in float16, as `--amp` does. */
  mixedPrecision: boolean;
}

/** Milliseconds of a batch. */
export interface DistillationTimes {
  teacher: Timing;
  student: Timing;
  /** The teacher on one batch while the student trains on the one before. */
  both: Timing;
}

const HEAD = { kind: "mlp", dimension: 128 } as const;
const QUEUE = 65_536;

/** Batches of one round, and of those that go before any is timed: a GPU that idled is clocked down. */
const [BATCHES, WARM_UP] = [10, 10];

/**
 * Milliseconds of a batch where some follow one another.
 *
 * @param work does so many, and waits for the last
 */
export async function timeBatches(
  rounds: number,
  work: (count: number) => Promise<void>,
): Promise<Timing> {
  await work(WARM_UP);
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await work(BATCHES);
    times.push((performance.now() - start) / BATCHES);
  }
  return { median: median(times), min: Math.min(...times), max: Math.max(...times) };
}

/** Begins each piece of work before the one before it has come back, as the actors do. */
async function overlapped(count: number, begin: () => Promise<unknown>): Promise<void> {
  let last = begin();
  for (let i = 1; i < count; i++) {
    const next = begin();
    await last;
    last = next;
  }
  await last;
}

/** This project's: images as bytes, which are uploaded for each batch; embeddings and losses read back. */
export async function timeDistillation(
  gpu: Gpu,
  { teacher: teacherName, student: studentName, batch, imageSize, mixedPrecision }: DistillationWork,
  rounds: number,
): Promise<DistillationTimes> {
  const encoder = findEncoder(teacherName);
  using teacher = await FrozenEncoder.create(gpu, {
    encoder,
    head: HEAD,
    batch,
    imageSize,
    output: "normalized",
    mixedPrecision,
  });
  const teacherWeights = initialize(summarize(encoder, HEAD, imageSize).state, 1);
  await teacher.load((key) => teacherWeights.get(key)!);
  using student = await StudentStep.create(gpu, {
    encoder: findEncoder(studentName),
    head: HEAD,
    batch,
    imageSize,
    queueSize: QUEUE,
    temperature: 0.2,
    teacherTemperature: 0.01,
    momentum: 0.9,
    weightDecay: 1e-4,
    ...mixedPrecision && { mixedPrecision, lossScale: INITIAL_LOSS_SCALE },
  });
  const studentWeights = initialize(student.state, 2);
  await student.parameters.load((key) => studentWeights.get(key)!);
  student.queues[0].load(initializeQueue(QUEUE, HEAD.dimension, 1));

  const images = new Uint8Array(batch * imageSize * imageSize * 4).map((_, i) => i * 7919 % 251);
  const embed = () => teacher.embed(images, new Float32Array(batch * HEAD.dimension));
  let steps = 0;
  const train = (keys: Float32Array) =>
    student.run({ images, teacher: keys, learningRate: 0.001, queuePointer: batch * steps++ % QUEUE });

  const keys = await embed();
  let known = keys;
  return {
    teacher: await timeBatches(rounds, (count) => overlapped(count, embed)),
    student: await timeBatches(rounds, (count) => overlapped(count, () => train(keys))),
    both: await timeBatches(rounds, async (count) => {
      let last: Promise<unknown> = Promise.resolve();
      for (let i = 0; i < count; i++) {
        const following = embed();
        const trained = train(known);
        [known] = await Promise.all([following, last]);
        last = trained;
      }
      await last;
    }),
  };
}

/**
 * PyTorch's, eager, TF32 off, cuDNN free to try its algorithms, images on the card already. Its arguments are the rounds
 * and the works as JSON; it prints a list of times, and beside it what it ran on.
 */
export const TORCH_DISTILLATION = `
import json, sys, time, torch, torchvision
import torch.nn.functional as F
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True
rounds, works = int(sys.argv[1]), json.loads(sys.argv[2])
assert torch.cuda.is_available()

def build(name):
    model = getattr(torchvision.models, name)()
    last = model.fc if hasattr(model, "fc") else model.classifier[-1]
    width = last.in_features
    head = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 128))
    if hasattr(model, "fc"): model.fc = head
    else: model.classifier = head
    return model.cuda()

def timed(work):
    for _ in range(${WARM_UP}): work()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(${BATCHES}): work()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / ${BATCHES} * 1000)
    times.sort()
    return {"median": times[len(times) // 2], "min": times[0], "max": times[-1]}

def measure(teacher, student, batch, imageSize, mixedPrecision):
    teacher, student = build(teacher).eval(), build(student).train()
    queue = F.normalize(torch.randn(${QUEUE}, 128, device="cuda"), dim=1)
    images = torch.randn(batch, 3, imageSize, imageSize, device="cuda")
    optimizer = torch.optim.SGD(student.parameters(), 0.001, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler("cuda", enabled=mixedPrecision)
    pointer = 0
    def embed():
        with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=mixedPrecision):
            return F.normalize(teacher(images).float(), dim=1)
    def train(keys):
        nonlocal pointer
        with torch.autocast("cuda", torch.float16, enabled=mixedPrecision):
            embeddings = F.normalize(student(images).float(), dim=1)
        wanted = torch.cat([(keys * keys).sum(1, keepdim=True), keys @ queue.T], 1) / 0.01
        logits = torch.cat([(embeddings * keys).sum(1, keepdim=True), embeddings @ queue.T], 1) / 0.2
        loss = -(wanted.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        queue[pointer:pointer + batch] = keys
        pointer = (pointer + batch) % ${QUEUE}
    keys = embed()
    return {"teacher": timed(embed), "student": timed(lambda: train(keys)), "both": timed(lambda: train(embed()))}

print(json.dumps({
    "times": [measure(**work) for work in works],
    "version": "PyTorch %s with CUDA %s on %s" % (torch.__version__, torch.version.cuda, torch.cuda.get_device_name()),
}))
`;
