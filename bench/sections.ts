/** What `deno task bench` can run. */
import type { ActorShare } from "../actors/run_profile.ts";
import { Random } from "../data/random.ts";
import { type Gpu, GPU_PARALLELISM, viewOf } from "../kernels/gpu.ts";
import { Graph, type Tensor } from "../kernels/graph.ts";
import { conv2d } from "../kernels/ops/conv2d/conv2d.ts";
import { POINTWISE } from "../kernels/ops/conv2d/geometry.ts";
import { matmulTransposed } from "../kernels/ops/matmul_transposed/matmul_transposed.ts";
import { queueCrossEntropy } from "../kernels/ops/queue_cross_entropy/queue_cross_entropy.ts";
import { RepeatedRuns } from "../kernels/repeated_run.ts";
import { GPU_TUNING, softwareTiles } from "../kernels/tuning/tuning.ts";
import { initializeQueue } from "../models/initialize.ts";
import { scheduleStep, StudentStep } from "../methods/seed/step.ts";
import { compareAttention } from "./attention.ts";
import { compareAugmentation, PHOTOS, USUAL_IMAGES } from "./augmentation.ts";
import { compileMultiplyAdds } from "../kernels/ceilings.ts";
import {
  type DistillationTimes,
  type DistillationWork,
  timeBatches,
  timeDistillation,
  TORCH_DISTILLATION,
} from "./distillation.ts";
import * as encoders from "./encoders.ts";
import * as jax from "./jax.ts";
import { compare, median, type Timing } from "./measure.ts";
import * as ours from "./ours.ts";
import { compareCaches, compareRuns } from "./image_cache.ts";
import { measurePipeline, type PipelineFacts } from "./pipeline.ts";
import { runPython } from "./python.ts";
import { measureGrowth } from "./growth.ts";
import { compareScales } from "./scale.ts";
import type { Row, Section } from "./section.ts";
import {
  CONVOLUTIONS,
  type ConvolutionShape,
  forwardOperations,
  outputSide,
  PRODUCTS,
  weightLength,
} from "./shapes.ts";
import { stepOptions } from "./student_step.ts";
import * as tfjs from "./tfjs.ts";
import { tiledProduct, tileName } from "./tiles.ts";
import { compareVits, measureVitMemory } from "./vit.ts";

/** One section of the bench. */
interface BenchSection {
  /** For `--help`. */
  help: string;
  /** Whether its kernels are chosen by a measurement first. */
  isTuned?: boolean;
  /** Whether it has no rounds: what it finds is counted, or of a single run. */
  isOnce?: boolean;
  run(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">>;
}

function randomValues(name: string, length: number): Float32Array<ArrayBuffer> {
  const random = new Random(1, "bench", name);
  return Float32Array.from({ length }, () => random.uniform(-1, 1));
}

/** Operations in so many ms, as GFLOP/s. */
function rate(operations: number, milliseconds: number): string {
  return (operations / milliseconds / 1e6).toFixed(1);
}

const TORCH_PRODUCT = `
import json, sys, time, torch
torch.set_grad_enabled(False)
n, rounds = int(sys.argv[1]), int(sys.argv[2])
a, b = torch.rand(n, n), torch.rand(n, n)
for _ in range(3): a @ b
times = []
for _ in range(rounds):
    start = time.perf_counter()
    for _ in range(5): a @ b
    times.append((time.perf_counter() - start) / 5 * 1000)
times.sort()
print(json.dumps({"median": times[len(times) // 2], "min": times[0], "max": times[-1]}))
`;

/** What a product's share of what the adapter computes at most is called. */
const CEILING = "multiply-adds alone";

async function benchProducts(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  using ceiling = await compileMultiplyAdds(gpu, rounds);
  const rows: Row[] = [];
  for (const size of PRODUCTS) {
    const [a, b] = ["a", "b"].map((name) => randomValues(name, size * size));
    const { [CEILING]: most, ...timings } = await compare(
      `product ${size}`,
      [await ours.product(gpu, size, a, b), tfjs.product(size, a, b), jax.product(size, a, b)],
      rounds,
      {},
      { beside: [ours.multiplyAdds(gpu, ceiling, CEILING)] },
    );
    const torch = await runPython(TORCH_PRODUCT, String(size), String(rounds));
    const operations = 2 * size ** 3;
    // The ceiling's kernel fills the device whatever the size is.
    const share = operations / (ceiling.workgroups * ceiling.operations);
    const scaled = Object.fromEntries(Object.entries(most).map(([name, value]) => [name, share * value]));
    rows.push({
      name: `${size} x ${size}`,
      timings: {
        ...timings,
        [CEILING]: scaled as unknown as Timing,
        ...torch && { PyTorch: torch as unknown as Timing },
      },
      facts: {
        "ours GFLOP/s": rate(operations, timings.ours.median),
        "of the most": `${(100 * share * most.median / timings.ours.median).toFixed(0)} %`,
      },
    });
  }
  return {
    title: "Matrix products",
    about:
      "Square matrices. `multiply-adds alone` is a kernel of as many operations that loads nothing, what the adapter " +
      "computes at most, timed in turn with the others: of it ours reaches the share named. PyTorch runs on the " +
      "processor, on the same cores, without this adapter between.",
    rows,
    targets: { [CEILING]: 0.5 },
  };
}

function convolutionValues(shape: ConvolutionShape): Record<"x" | "w" | "dy", Float32Array> {
  const { n, side, inputs, outputs } = shape;
  return {
    x: randomValues("x", n * side * side * inputs),
    w: randomValues("w", weightLength(shape)),
    dy: randomValues("dy", n * outputSide(shape) ** 2 * outputs),
  };
}

async function benchConvolutions(
  gpu: Gpu,
  rounds: number,
  training: boolean,
): Promise<Omit<Section, "name">> {
  const rows: Row[] = [];
  for (const shape of CONVOLUTIONS) {
    const values = convolutionValues(shape);
    const timings = await compare(shape.name, [
      await ours.convolution(gpu, shape, values, training),
      tfjs.convolution(shape, values, training),
      jax.convolution(shape, values, training),
    ], rounds);
    const operations = forwardOperations(shape) * (training ? 3 : 1);
    console.log(
      `${shape.name}: ${
        Object.entries(timings).map(([name, { median }]) => `${name} ${median.toFixed(1)} ms`).join(", ")
      }`,
    );
    rows.push({
      name: shape.name,
      timings,
      facts: { "ours GFLOP/s": rate(operations, timings.ours.median) },
    });
  }
  return {
    title: training ? "Convolutions, forward and both gradients" : "Convolutions, forward",
    about: "Layers of the students and teachers: batches of 32 images of 64 pixels, of 4 of 224. " +
      `Left out is whose ${training ? "gradient" : "result"} is not what the two others agree on.`,
    rows,
    targets: training ? { tfjs: 10, "jax-js": 4 } : undefined,
  };
}

const STEPS = ["resnet18", "mobilenetv3_large", "efficientnet_b0"];

async function benchSteps(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  const rows: Row[] = [];
  for (const name of STEPS) {
    const work = { name, batch: 32, imageSize: 64 };
    const contestants = [await encoders.trainOurs(gpu, work), encoders.trainTfjs(work)];
    rows.push({ name, timings: await compare(name, contestants, rounds, { gradient: 1e-2 }) });
  }
  return {
    title: "A student's training step",
    about:
      "Forward, SEED's loss against a queue of 1,024, backward and SGD; 32 images of 64 pixels. tfjs runs the same " +
      "graph op by op, with its own gradients and optimizer; running statistics and the queue are left out there.",
    rows,
    targets: { tfjs: 8 },
  };
}

async function benchDistillation(
  gpu: Gpu,
  rounds: number,
  mixedPrecision: boolean,
): Promise<Omit<Section, "name">> {
  const title = `A distillation, beside PyTorch on the same GPU${mixedPrecision ? ", --amp" : ""}`;
  if (gpu.target.isSoftware || (mixedPrecision && !gpu.adapter.hasHalf)) {
    return { title, about: "Left out: needs a GPU, and float16 for --amp.", rows: [] };
  }
  const works = ["resnet18", "efficientnet_b0"].map((student): DistillationWork => (
    { teacher: "resnet50", student, batch: 64, imageSize: 224, mixedPrecision }
  ));
  const torch = await runPython<{ times: DistillationTimes[]; version: string }>(
    TORCH_DISTILLATION,
    String(rounds),
    JSON.stringify(works),
  );
  const rows: Row[] = [];
  for (const [i, work] of works.entries()) {
    const { teacher, student } = work;
    const times = await timeDistillation(gpu, work, rounds);
    const parts = [[`${teacher} embeds`, "teacher"], [`${student} trains`, "student"], [
      `${student} under ${teacher}`,
      "both",
    ]] as const;
    // The teacher is the same for all.
    for (const [name, part] of i === 0 ? parts : parts.slice(1)) {
      rows.push({
        name,
        timings: { ours: times[part], ...torch && { PyTorch: torch.times[i][part] } },
        facts: { "images/s": (1000 * work.batch / times[part].median).toFixed(0) },
      });
    }
  }
  return {
    title,
    about:
      "Batches of 64 images of 224 pixels: a frozen ResNet-50 embeds them, a student trains (forward, SEED's loss " +
      "against a queue of 65,536, backward, SGD), and both. Ours uploads every batch, and begins a batch before the one " +
      `before it has come back, as the actors do; ${
        torch?.version ?? "PyTorch"
      } has its images on the card. ` +
      (mixedPrecision
        ? "Maps of pixels are kept in float16; PyTorch's autocast multiplies by tensor cores, our kernels in float32."
        : "PyTorch runs eagerly in float32, TF32 off, and tries cuDNN's algorithms first."),
    rows,
    targets: mixedPrecision ? undefined : { PyTorch: 0.5 },
  };
}

async function benchInference(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  const work = { name: "resnet50", batch: 8, imageSize: 224 };
  const contestants = [await encoders.embedOurs(gpu, work), encoders.embedTfjs(work)];
  return {
    title: "A teacher's embeddings",
    about:
      "ResNet-50 with its head, batch norm folded, 8 images of 224 pixels, read back; tfjs runs the same graph.",
    rows: [{ name: "ResNet-50, 8 x 224 px", timings: await compare("inference", contestants, rounds) }],
    targets: { tfjs: 3 },
  };
}

async function benchAttention(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  return {
    title: "Attention by the number of tokens",
    about:
      "One image, six heads of 64 numbers (ViT-S). `ours` is the fused op; `matrix` is the same from this project's batched " +
      "products and softmax, and tfjs has its own: both keep a matrix of scores for each head, and are left out above 2,048 " +
      "tokens. MiB is what is alive at the peak, with what goes in and comes out, forwards and with the gradient.",
    rows: await compareAttention(gpu, rounds),
    targets: { tfjs: 1.5 },
  };
}

async function benchVit(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  return {
    title: "A vision transformer's embeddings",
    about:
      "DINOv2's ViTs on images of 224 pixels, embeddings read back. onnxruntime-web runs the exported model, by its WebGPU " +
      "backend on the same adapter, and on one thread of the processor. PyTorch runs eagerly, with " +
      "`scaled_dot_product_attention` where its version has it, on the GPU or on all cores of the processor; its embeddings " +
      "are checked too.",
    rows: await compareVits(gpu, rounds),
    targets: {
      "onnxruntime webgpu": 1.5,
      ...!gpu.target.isSoftware && { "PyTorch float32": 0.7 },
    },
  };
}

async function benchScale(_: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  return {
    title: "Steps shared by several ranks",
    about:
      "The slowest rank's median step with the exchange of gradients and keys by Open MPI, against the same step without; " +
      "with `--compress f16` gradients travel as float16. `hidden` is the part of the sums, as they take alone, that a step " +
      "does not become longer by. " +
      "All ranks are on this machine and share its device: what is measured is the exchange, not what more devices would gain.",
    rows: await compareScales(rounds),
    figure: { fact: "share of a step", says: "time of a step that the exchange takes", unit: "%" },
  };
}

async function benchVitMemory(gpu: Gpu): Promise<Omit<Section, "name">> {
  return {
    title: "Memory of a vision transformer",
    about:
      "Bytes of the weights on the device in float32, and those that the program's plan takes beside them, as on a " +
      "device that binds as much as it is given. What a software adapter copies into textures comes on top. `--amp` keeps " +
      "activations in float16, and the weights of products. The last rows are MiB that were allocated on this adapter, for " +
      "growing images: with all weights and textures of ViT-S/14, and for attention alone with its gradient. `expected` is a " +
      "straight line from the fewest tokens to the most. A matrix of scores would grow with their square.",
    ...await measureVitMemory(gpu),
  };
}

async function benchLoss(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  const [batch, keys, d] = [256, 65_536, 128];
  const values = {
    student: initializeQueue(batch, d, 1),
    teacher: initializeQueue(batch, d, 2),
    queue: initializeQueue(keys, d, 3),
  };
  const make = async (name: string, onlyProducts: boolean) => {
    const graph = new Graph();
    const student = graph.source("student", [batch, 1, 1, d]);
    const teacher = graph.source("teacher", [batch, 1, 1, d]);
    const queue = graph.source("queue", [1, 1, keys, d]);
    const inputs = [[student, values.student], [teacher, values.teacher], [queue, values.queue]] as const;
    const outputs = (): Record<string, Tensor> => {
      if (onlyProducts) {
        const z = graph.apply(matmulTransposed, [student, queue], {});
        // The student's similarities stand for the gradient of them.
        return {
          wanted: graph.apply(matmulTransposed, [teacher, queue], {}),
          gradient: graph.apply(conv2d, [z, queue], POINTWISE),
        };
      }
      const [loss, gradient] = graph.applyAll(queueCrossEntropy, [student, teacher, queue], {
        temperature: 0.2,
        teacherTemperature: 0.01,
        queueSize: keys,
      });
      return { loss, gradient };
    };
    return { ...await ours.contestant(gpu, graph, inputs, outputs()), name };
  };
  const [loss, products] = [await make("ours", false), await make("its products", true)];
  const timings = await compare("loss", [loss, products], rounds, {}, { agree: false });
  return {
    title: "SEED's loss",
    about:
      `Loss and gradient of ${batch} embeddings of ${d} numbers against a queue of 65,536 keys. Its products are both ` +
      "matrices of similarities and the gradient's product with the queue, three in all. The rows are taken 64 at a time, " +
      "so that a matrix of similarities takes 16 MiB and not 64, and no product is computed twice.",
    rows: [{ name: "loss and gradient", timings }],
    targets: { "its products": 0.5 },
  };
}

/** Keys of the queue in a step, the paper's. */
const QUEUE = 65_536;

/** Milliseconds that a training step takes on the device where steps follow one another. */
async function timeStep(gpu: Gpu, name: string, batch: number, rounds: number): Promise<number> {
  using step = await StudentStep.create(
    gpu,
    stepOptions({ encoder: name, batch, imageSize: 224, queueSize: QUEUE }),
  );
  const runs = new RepeatedRuns(gpu);
  const { median } = await timeBatches(rounds, async (count) => {
    for (let i = 0; i < count; i++) runs.submit(step.programs);
    await gpu.device.queue.onSubmittedWorkDone();
  });
  return median;
}

/** The same device, and when commands were last handed to it. */
function notingSubmissions(gpu: Gpu): { gpu: Gpu; submittedAt: () => number } {
  let submittedAt = 0;
  const device = viewOf(gpu.device);
  const queue = viewOf(gpu.device.queue);
  queue.submit = (commands) => {
    gpu.device.queue.submit(commands);
    submittedAt = performance.now();
  };
  Object.assign(device, { queue });
  return { gpu: { ...gpu, device }, submittedAt: () => submittedAt };
}

async function benchHost(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  const rows: Row[] = [];
  // What is encoded for a GPU can be timed on any adapter; how long the device then takes cannot.
  const forGpus: Gpu = {
    ...gpu,
    target: {
      ...gpu.target,
      isSoftware: false,
      tuning: GPU_TUNING,
      parallelism: GPU_PARALLELISM,
      arenaBytes: 2 ** 30,
    },
  };
  const devices = gpu.target.isSoftware ? [gpu, forGpus] : [gpu];
  for (const [device, name] of devices.flatMap((device) => STEPS.map((name) => [device, name] as const))) {
    // A small batch: the same dispatches, and the device is done before the next step.
    using step = await StudentStep.create(
      device,
      stepOptions({ encoder: name, batch: 4, imageSize: 32, queueSize: QUEUE }),
    );
    const { gpu: noted, submittedAt } = notingSubmissions(device);
    const runs = new RepeatedRuns(noted);
    const [host, before]: [number[], number[]] = [[], []];
    for (let i = 0; i < rounds + 2; i++) {
      const start = performance.now();
      runs.submit(step.programs);
      host.push(performance.now() - start);
      before.push(submittedAt() - start);
      await gpu.device.queue.onSubmittedWorkDone();
    }
    // The first steps encode before they are submitted.
    const [hostMs, beforeMs] = [host, before].map((times) => median(times.slice(2)));
    const count = step.programs.reduce((sum, { dispatches }) => sum + dispatches, 0);
    const facts: Record<string, string> = {
      dispatches: String(count),
      "host ms": hostMs.toFixed(2),
      "us a dispatch": (1000 * hostMs / count).toFixed(1),
      "before the device begins, ms": beforeMs.toFixed(2),
    };
    if (!gpu.target.isSoftware) {
      for (const batch of [64, 256]) {
        const stepMs = await timeStep(gpu, name, batch, rounds);
        facts[`step of ${batch} x 224 px, ms`] = stepMs.toFixed(1);
        facts[`the device's wait, of ${batch}`] = `${(100 * beforeMs / stepMs).toFixed(0)} %`;
      }
    }
    rows.push({ name: device === gpu ? name : `${name}, with the kernels for GPUs`, facts });
  }
  return {
    title: "Host time of a training step",
    about:
      "Encoding and submitting one step, and the part of it that the device waits for: commands are encoded while it " +
      "computes the step before. Target: less than 3 ms, or a tenth of the step on a GPU, which is timed where there is one, " +
      "step after step; 256 images is the original's batch.",
    rows,
  };
}

function benchMemory(gpu: Gpu): Promise<Omit<Section, "name">> {
  const rows: Row[] = [];
  for (const [batch, imageSize] of [[32, 64], [32, 224]]) {
    for (const name of [...STEPS, "resnet50"]) {
      for (const checkpointActivations of [false, true]) {
        const options = {
          ...stepOptions({ encoder: name, batch, imageSize, queueSize: QUEUE }),
          checkpointActivations,
        };
        // As on a device that binds as much as it is given.
        const target = { ...gpu.target, maxStorageBufferBindingSize: 2 ** 40 };
        const [{ plan: { bytes, peakBytes } }] = scheduleStep(target, options); // the optimizer's takes next to none
        const mebibytes = (value: number) => (value / 2 ** 20).toFixed(0);
        rows.push({
          name: `${name}, ${batch} x ${imageSize} px${
            checkpointActivations ? ", --checkpoint-activations" : ""
          }`,
          facts: {
            "alive at the peak, MiB": mebibytes(peakBytes),
            "planned, MiB": mebibytes(bytes),
            "planned / alive": (bytes / peakBytes).toFixed(3),
          },
        });
      }
    }
  }
  return Promise.resolve({
    title: "Memory of a training step",
    about:
      "Bytes beside the parameters, their gradients, momentum and the queue: what must be alive at the same time at " +
      "the peak, summed over the tensors of the graph, and what the plan takes. Target: 1.15 times.",
    rows,
  });
}

async function benchGrowth(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  return {
    title: "How the cost grows",
    about:
      "A step of MobileNetV3-Small with 32 images of 32 pixels and 4,096 keys, where one of these grows, or the student " +
      "does; images of growing size come 8 at a time. And a TSV's opening by its rows. Steps are waited for one by one. " +
      "`expected` is proportional to images, pixels, operations or rows, through the last value; by keys it is what the fewest " +
      "take and a line through the last. MiB are those of the step's plan and its queue, or of the index in memory.",
    ...await measureGrowth(gpu, rounds),
  };
}

async function benchAugmentation(_gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  const rows: Row[] = [];
  for (const images of [USUAL_IMAGES, PHOTOS]) rows.push(...await compareAugmentation(images, rounds));
  return {
    title: "Views from files",
    about:
      "Milliseconds an image: JPEGs of 500 x 375 pixels, and photos of 12 megapixels, to views of 224 (random resized crop, " +
      "jitter, grayscale, blur, flip: MoCo-v2's recipe), by two readers and the augmenter here, and by PyTorch's DataLoader with two workers and " +
      "torchvision over Pillow. The readers alone only decode: that is what is left to the cores where a GPU makes views. " +
      "`--fast-decode` is ours alone, and its row is not in the mean.",
    rows,
    targets: { "DataLoader": 2 },
  };
}

async function benchCache(_gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  const rows: Row[] = await compareCaches(rounds);
  const { kept, decoding } = await compareRuns();
  const busy = ({ stages }: PipelineFacts) => {
    const readers = stages.filter(({ actor }) => actor.startsWith("tsv_reader"));
    return readers.map(({ busyMs, totalMs }) => `${(100 * busyMs / totalMs).toFixed(1)} %`).join(", ");
  };
  rows.push({
    name: "MobileNetV3-Small, 32 px, by ResNet-18",
    facts: { "readers at work": busy(kept), "the same, decoding": busy(decoding) },
  });
  return {
    title: "Images that are decoded once",
    about:
      "Epochs after the first, with decoded images in memory (ours), in a file, and decoded in every epoch: milliseconds an " +
      "image of two readers whom nothing holds back, and how busy those of a distillation are. Target: less than 5 % of " +
      "the time on two cores.",
    rows,
  };
}

async function benchTiles(gpu: Gpu, rounds: number): Promise<Omit<Section, "name">> {
  const size = 1024;
  const [a, b] = ["a", "b"].map((name) => randomValues(name, size * size));
  const sources = ["texture", "buffer"] as const;
  const { shared, direct } = softwareTiles(gpu.target.vectorLanes, gpu.target.hasSubgroups);
  const tiles = [...shared, ...direct];
  const contestants = await Promise.all(
    sources.flatMap((source) => tiles.map((tile) => tiledProduct(gpu, size, a, b, tile, source))),
  );
  const timings = await compare("tiles", contestants, rounds);
  const best = Math.min(...Object.values(timings).map(({ median }) => median));
  return {
    title: "Register tiles of the software adapter",
    about:
      "A product of 1024 x 1024, operands from textures and from buffers: GFLOP/s, and in brackets the share of the best. " +
      "Of a shared tile every lane loads some rows for all. " +
      "`kernels/tuning/tuning.ts` has its defaults from such a table.",
    rows: sources.map((source) => ({
      name: `from a ${source}`,
      facts: Object.fromEntries(tiles.map((tile) => {
        const name = tileName(gpu.target, tile);
        const { median } = timings[`${name} from a ${source}`];
        return [name, `${rate(2 * size ** 3, median)} (${(best / median).toFixed(2)})`];
      })),
    })),
  };
}

const PIPELINES = [["mobilenetv3_small", 32], ["efficientnet_b0", 64]] as const;

async function benchPipeline(): Promise<Omit<Section, "name">> {
  const rows: Row[] = [];
  for (const [name, imageSize] of PIPELINES) {
    const { imagesPerSecond, stages } = await measurePipeline(name, imageSize);
    const busy = ({ busyMs, totalMs }: ActorShare) => busyMs / totalMs;
    const slowest = stages.reduce((most, stage) => busy(stage) > busy(most) ? stage : most);
    const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
    rows.push({
      name: `${name}, ${imageSize} px`,
      facts: {
        "images/s": imagesPerSecond.toFixed(0),
        "slowest stage": slowest.actor,
        "at work": percent(busy(slowest)),
        "the others at work": stages.filter((stage) => stage !== slowest)
          .map((stage) => `${stage.actor} ${percent(busy(stage))}`).join(", "),
      },
    });
  }
  return {
    title: "The pipeline",
    about:
      "One distillation of 40 steps of 32 images under the bundled ResNet-18, two readers. Where stages overlap, the " +
      "slowest never waits: the share of the time between the first step and the last that it is at work, which is the " +
      "pipeline's rate over that of this stage with all the others beside it. Target: 90 %.",
    rows,
  };
}

/** By name. */
export const SECTIONS: Readonly<Record<string, BenchSection>> = {
  product: {
    help: "matrix products, against tfjs, jax-js and PyTorch, and the adapter's ceiling",
    isTuned: true,
    run: benchProducts,
  },
  training: {
    help: "convolutions with both gradients, against tfjs and jax-js",
    isTuned: true,
    run: (gpu, rounds) => benchConvolutions(gpu, rounds, true),
  },
  forward: {
    help: "the same forward alone",
    isTuned: true,
    run: (gpu, rounds) => benchConvolutions(gpu, rounds, false),
  },
  step: { help: "whole training steps of three students, against tfjs", isTuned: true, run: benchSteps },
  distillation: {
    help: "a ResNet-50 teacher and a student at 224 pixels, against PyTorch on the same GPU",
    isTuned: true,
    run: (gpu, rounds) => benchDistillation(gpu, rounds, false),
  },
  amp: {
    help: "the same in mixed precision",
    isTuned: true,
    run: (gpu, rounds) => benchDistillation(gpu, rounds, true),
  },
  inference: {
    help: "a ResNet-50's embeddings at 224 pixels, against tfjs",
    isTuned: true,
    run: benchInference,
  },
  loss: { help: "SEED's loss against its matrix products alone", isTuned: true, run: benchLoss },
  attention: {
    help: "attention's time and memory by the number of tokens, against a matrix of scores and tfjs",
    run: benchAttention,
  },
  vit: {
    help: "embeddings of ViT-S/14 and ViT-B/14, against onnxruntime-web (15 minutes on a software adapter)",
    isTuned: true,
    run: benchVit,
  },
  "vit-memory": {
    help: "planned bytes of ViTs up to 4,097 tokens and up to ViT-g",
    isOnce: true,
    run: benchVitMemory,
  },
  augmentation: { help: "views from JPEGs, against PyTorch's DataLoader", run: benchAugmentation },
  cache: { help: "readers whose images are decoded once, against decoding", run: benchCache },
  pipeline: {
    help: "how well the stages of a distillation overlap, in a single run",
    isOnce: true,
    run: () => benchPipeline(),
  },
  host: { help: "the host's part of a training step", run: benchHost },
  memory: {
    help: "the memory plan against what must be alive",
    isOnce: true,
    run: (gpu) => benchMemory(gpu),
  },
  growth: {
    help: "a step by batch, image size, queue and student, and a TSV by its rows",
    isTuned: true,
    run: benchGrowth,
  },
  scale: { help: "steps of 1, 2 and 4 ranks of Open MPI on this machine", run: benchScale },
  tiles: { help: "this project's own register tiles on a software adapter", run: benchTiles },
};
