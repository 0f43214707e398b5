/**
 * Figure 2 of the paper: what the teacher and the student make of the queue for one image. To be
 * looked at; what is trained on is computed by `kernels/ops/queue_cross_entropy`.
 */

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

/** log(softmax(cosines / temperature)). */
function logSoftmax(cosines: Float32Array, temperature: number): Float64Array {
  const largest = cosines.reduce((most, value) => Math.max(most, value), -Infinity);
  const logits = Float64Array.from(cosines, (value) => (value - largest) / temperature);
  const logSum = Math.log(logits.reduce((sum, value) => sum + Math.exp(value), 0));
  return logits.map((value) => value - logSum);
}

function expectation(logWeights: Float64Array, logValues: Float64Array): number {
  return logWeights.reduce((sum, weight, i) => sum - Math.exp(weight) * logValues[i], 0);
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
  const chosen = [...teacher.keys()].sort((a, b) => teacher[b] - teacher[a] || a - b).slice(0, count);
  const teacherLog = logSoftmax(teacher, teacherTemperature);
  const studentLog = logSoftmax(student, temperature);
  const view = (cosines: Float32Array, log: Float64Array): QueueView => ({
    probabilities: chosen.map((key) => Math.exp(log[key])),
    histogram: histogram(cosines),
    entropy: expectation(log, log),
  });
  return {
    keys: teacher.length,
    chosen,
    own: chosen.indexOf(ownKey),
    teacher: view(teacher, teacherLog),
    student: view(student, studentLog),
    crossEntropy: expectation(teacherLog, studentLog),
  };
}
