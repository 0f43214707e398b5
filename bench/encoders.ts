/** Whole encoders side by side: a student's training step, and a frozen encoder's run. */
import * as tf from "@tensorflow/tfjs-core";
import { Random } from "../data/random.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { Graph, type Tensor } from "../kernels/graph.ts";
import { padRows } from "../kernels/layout.ts";
import { l2Normalize } from "../kernels/ops/l2_normalize/l2_normalize.ts";
import { EncoderBuilder } from "../models/encoder_builder.ts";
import { FrozenEncoder } from "../models/inference.ts";
import { initialize, initializeQueue } from "../models/initialize.ts";
import { findEncoder, summarize } from "../models/registry.ts";
import { StudentStep } from "../methods/seed/step.ts";
import type { Contestant } from "./measure.ts";
import { inputChannels, runWithTfjs, toTfjs } from "./tfjs_graph.ts";

/** What is run. */
interface EncoderWork {
  /** Name of the encoder. */
  name: string;
  batch: number;
  imageSize: number;
}

const HEAD = { kind: "mlp", dimension: 128 } as const;
const QUEUE = 1024;
const TEMPERATURE = 0.2;
const TEACHER_TEMPERATURE = 0.01;
const MOMENTUM = 0.9;

/** The parameter whose gradient is compared: behind every kink, so that rounding does not move it. */
const COMPARED = "fc.2.weight";

/** Images [batch, size, size, 3], normalised. */
function makeImages({ batch, imageSize }: EncoderWork): Float32Array<ArrayBuffer> {
  const random = new Random(1, "bench", "images");
  return Float32Array.from({ length: batch * imageSize * imageSize * 3 }, () => random.uniform(-2, 2));
}

/** The encoder traced for tfjs, with its weights there. */
function traceForTfjs({ name, batch, imageSize }: EncoderWork, mode: "train" | "eval") {
  const graph = new Graph();
  const images = graph.source("images", [batch, imageSize, imageSize, 3]);
  const builder = new EncoderBuilder(graph, mode);
  const { embedding } = findEncoder(name).trace(builder, images, HEAD);
  const output = graph.apply(l2Normalize, [embedding], {});
  const initial = initialize(builder.state, 1);
  const channels = inputChannels(graph);
  const weights = new Map<Tensor, { key: string; value: tf.Variable }>();
  for (const { tensor, kind, keys, toDevice } of builder.parametersOf(output)) {
    const device = toDevice(keys.map((key) => initial.get(key)!));
    const start = toTfjs(tensor, device, channels.get(tensor));
    weights.set(tensor, { key: keys[0], value: tf.variable(start, kind === "parameter") });
    start.dispose();
  }
  return { graph, images, output, weights };
}

/** One step of a student: forward, loss, backward, SGD. */
export async function trainOurs(gpu: Gpu, work: EncoderWork): Promise<Contestant> {
  const { name, batch, imageSize } = work;
  const step = await StudentStep.create(gpu, {
    encoder: findEncoder(name),
    head: HEAD,
    batch,
    imageSize,
    input: "normalized",
    queueSize: QUEUE,
    temperature: TEMPERATURE,
    teacherTemperature: TEACHER_TEMPERATURE,
    momentum: MOMENTUM,
    weightDecay: 0,
  });
  const weights = initialize(step.state, 1);
  await step.parameters.load((key) => weights.get(key)!);
  step.queues[0].load(initializeQueue(QUEUE, HEAD.dimension, 1));
  const images = padRows(makeImages(work), [batch, imageSize, imageSize, 3]);
  const teacher = initializeQueue(batch, HEAD.dimension, 2);
  let loss = NaN;
  return {
    name: "ours",
    async run() {
      ({ loss } = await step.run({ images, teacher, learningRate: 0, queuePointer: 0 }));
    },
    finish: () => Promise.resolve(), // `run` waits for the loss
    async result() {
      return { loss: [loss], gradient: (await step.parameters.saveArena("gradient")).get(COMPARED)! };
    },
    dispose: () => step[Symbol.dispose](),
  };
}

/** The same with tfjs; running statistics and the queue's update are left out, in tfjs's favour. */
export function trainTfjs(work: EncoderWork): Contestant {
  const { batch, imageSize } = work;
  const { graph, images: source, output, weights } = traceForTfjs(work, "train");
  const images = tf.tensor(makeImages(work), [batch, imageSize, imageSize, 3]);
  const queue = tf.tensor2d(initializeQueue(QUEUE, HEAD.dimension, 1), [QUEUE, HEAD.dimension]);
  const keys = tf.tensor2d(initializeQueue(batch, HEAD.dimension, 2), [batch, HEAD.dimension]);
  const given = new Map<Tensor, tf.Tensor>([...weights].map(([tensor, { value }]) => [tensor, value]));
  given.set(source, images);
  const trained = [...weights.values()].filter(({ value }) => value.trainable);
  const optimizer = tf.train.momentum(0, MOMENTUM);
  const similarities = (a: tf.Tensor2D) =>
    tf.concat([tf.sum(tf.mul(a, keys), 1, true), tf.matMul(a, queue, false, true)], 1) as tf.Tensor2D;
  const lossOf = () => {
    const wanted = tf.softmax(tf.div(similarities(keys), TEACHER_TEMPERATURE) as tf.Tensor2D);
    const [embedding] = runWithTfjs(graph, [output], given);
    const student = tf.reshape(embedding, [batch, HEAD.dimension]) as tf.Tensor2D;
    const logits = tf.div(similarities(student), TEMPERATURE) as tf.Tensor2D;
    return tf.neg(tf.mean(tf.sum(tf.mul(wanted, tf.logSoftmax(logits)), 1))) as tf.Scalar;
  };
  let loss: tf.Scalar | undefined;
  return {
    name: "tfjs",
    async run() {
      loss?.dispose();
      loss = tf.tidy(() => optimizer.minimize(lossOf, true, trained.map(({ value }) => value))!);
      await loss.data();
    },
    finish: () => Promise.resolve(), // `run` waits for the loss
    async result() {
      const { value } = trained.find(({ key }) => key === COMPARED)!;
      const gradient = tf.tidy(() => {
        const { grads } = tf.variableGrads(lossOf, [value]);
        return tf.transpose(tf.squeeze(grads[value.name], [0, 1]));
      });
      const results = { loss: await loss!.data(), gradient: await gradient.data() };
      gradient.dispose();
      return results;
    },
    dispose() {
      tf.dispose([images, queue, keys, ...[...weights.values()].map(({ value }) => value)]);
      optimizer.dispose();
    },
  };
}

/** A frozen encoder: batch norm folded, embeddings of a batch read back. */
export async function embedOurs(gpu: Gpu, work: EncoderWork): Promise<Contestant> {
  const { name, batch, imageSize } = work;
  const encoder = findEncoder(name);
  const options = {
    encoder,
    head: HEAD,
    batch,
    imageSize,
    input: "normalized",
    output: "normalized",
  } as const;
  const frozen = await FrozenEncoder.create(gpu, options);
  const weights = initialize(summarize(encoder, HEAD, imageSize).state, 1);
  await frozen.load((key) => weights.get(key)!);
  const images = padRows(makeImages(work), [batch, imageSize, imageSize, 3]);
  const embeddings = new Float32Array(batch * HEAD.dimension);
  return {
    name: "ours",
    run: async () => void await frozen.embed(images, embeddings),
    finish: () => Promise.resolve(), // `run` waits for the embeddings
    result: () => Promise.resolve({ embeddings }),
    dispose: () => frozen[Symbol.dispose](),
  };
}

/** The same with tfjs. */
export function embedTfjs(work: EncoderWork): Contestant {
  const { batch, imageSize } = work;
  const { graph, images: source, output, weights } = traceForTfjs(work, "eval");
  const images = tf.tensor(makeImages(work), [batch, imageSize, imageSize, 3]);
  const given = new Map<Tensor, tf.Tensor>([...weights].map(([tensor, { value }]) => [tensor, value]));
  given.set(source, images);
  let embeddings: Float32Array | undefined;
  return {
    name: "tfjs",
    async run() {
      const [embedding] = tf.tidy(() => runWithTfjs(graph, [output], given));
      embeddings = await embedding.data() as Float32Array;
      embedding.dispose();
    },
    finish: () => Promise.resolve(), // `run` waits for the embeddings
    result: () => Promise.resolve({ embeddings: embeddings! }),
    dispose: () => tf.dispose([images, ...[...weights.values()].map(({ value }) => value)]),
  };
}
