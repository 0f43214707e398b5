/**
 * Figure 2 of the paper: what the teacher and the student make of the queue for one image. To be
 * looked at; what is trained on is computed by `kernels/ops/queue_cross_entropy`.
 */
import { largestIndices } from "./largest.ts";

/** Bins of a histogram of cosines, from -1 to 1. */
export const HISTOGRAM_BINS = 50;

/** Similarities of one network's embedding to the queue. */
export interface QueueView {
  /** Softmax probabilities of the chosen keys, over the whole queue. */
  probabilities: number[];
  /** Number of keys whose cosine is in each of {@linkcode HISTOGRAM_BINS} bins. */
  histogram: number[];
  /** Entropy of its softmax over the whole queue, in nats. */
  entropy: number;
}

/** Similarities of teacher and student to the queue, for one image; in a pretraining, of key encoder and query encoder. */
export interface SimilarityMap {
  /** Number of keys in the queue. */
  keys: number;
  /** Rows of the keys with the highest teacher probabilities, the highest first. */
  chosen: number[];
  /** Index in `chosen` of the image's own teacher embedding; -1 if it is not there. */
  own: number;
  /** Similarities of the teacher's embedding, at the teacher's temperature. */
  teacher: QueueView;
  /** Similarities of the student's embedding, at the student's temperature. */
  student: QueueView;
  /** Cross-entropy of the two softmaxes, in nats: SEED's loss of this image. InfoNCE is -log of the student's `own` probability. */
  crossEntropy: number;
}

/** softmax(cosines / temperature), its logarithm, and its entropy in nats. The queue may have a million keys: these are plain loops. */
interface Softmax {
  probabilities: Float64Array;
  logs: Float64Array;
  entropy: number;
}

function softmax(cosines: Float32Array, temperature: number): Softmax {
  const keys = cosines.length;
  const [probabilities, logs] = [new Float64Array(keys), new Float64Array(keys)];
  let largest = -Infinity;
  for (let key = 0; key < keys; key++) largest = Math.max(largest, cosines[key]);
  let sum = 0;
  for (let key = 0; key < keys; key++) {
    logs[key] = (cosines[key] - largest) / temperature;
    sum += probabilities[key] = Math.exp(logs[key]);
  }
  const logSum = Math.log(sum);
  for (let key = 0; key < keys; key++) {
    probabilities[key] /= sum;
    logs[key] -= logSum;
  }
  return { probabilities, logs, entropy: crossEntropy(probabilities, logs) };
}

function crossEntropy(probabilities: Float64Array, logs: Float64Array): number {
  let sum = 0;
  for (let key = 0; key < logs.length; key++) sum -= probabilities[key] * logs[key];
  return sum;
}

function histogram(cosines: Float32Array): number[] {
  const counts = new Array<number>(HISTOGRAM_BINS).fill(0);
  for (const cosine of cosines) {
    const bin = Math.floor((cosine + 1) / 2 * HISTOGRAM_BINS);
    counts[Math.min(Math.max(bin, 0), HISTOGRAM_BINS - 1)]++;
  }
  return counts;
}

/**
 * Draws it up.
 *
 * @param teacher cosines of the image's teacher embedding with the keys [K]
 * @param student the student's likewise [K]
 * @param ownKey row of the queue that is the image's own teacher embedding
 * @param count keys to choose
 */
export function similarityMap(
  teacher: Float32Array,
  student: Float32Array,
  { temperature, teacherTemperature, ownKey, count }: {
    temperature: number;
    teacherTemperature: number;
    ownKey: number;
    count: number;
  },
): SimilarityMap {
  const chosen = largestIndices(teacher, count);
  const [ofTeacher, ofStudent] = [softmax(teacher, teacherTemperature), softmax(student, temperature)];
  const view = (cosines: Float32Array, { probabilities, entropy }: Softmax): QueueView => ({
    probabilities: chosen.map((key) => probabilities[key]),
    histogram: histogram(cosines),
    entropy,
  });
  return {
    keys: teacher.length,
    chosen,
    own: chosen.indexOf(ownKey),
    teacher: view(teacher, ofTeacher),
    student: view(student, ofStudent),
    crossEntropy: crossEntropy(ofTeacher.probabilities, ofStudent.logs),
  };
}
