/** Labels by which an accuracy says little: of classes that no image to learn from has, or of one class alone. */

/** Runs of classes that are named; of the others only that there are more. */
const MOST_RUNS = 5;

/** Images, and the labels of all or some of them. */
interface LabelledImages {
  /** Path of the data. */
  path: string;
  /** Below 0 where an image has none. */
  labels: Int32Array;
}

/** Says how many of the images with labels that are, and of which classes; `undefined` where there are none. */
export function describeUnknownClasses(
  learnt: LabelledImages,
  classified: LabelledImages,
): string | undefined {
  const known = new Set(learnt.labels);
  let [count, total] = [0, 0];
  const unknown = new Set<number>();
  for (const label of classified.labels) {
    if (label < 0) continue;
    total++;
    if (known.has(label)) continue;
    count++;
    unknown.add(label);
  }
  if (count === 0) return undefined;
  return `${classified.path}: ${count} of ${total} images are of classes that no image of ${learnt.path} has ` +
    `(${listClasses(unknown)}), and count as errors`;
}

/** Says that all images to learn from are of one class, where they are: no other one is ever predicted. */
export function describeOneClass({ path, labels }: LabelledImages): string | undefined {
  const first = labels.find((label) => label >= 0);
  if (first === undefined || labels.some((label) => label >= 0 && label !== first)) return undefined;
  return `${path}: all images are of class ${first}, and so is every prediction: the accuracy says nothing. ` +
    "Use images of two classes or more";
}

/** `1, 5 to 9`. */
function listClasses(classes: Set<number>): string {
  const runs: [first: number, last: number][] = [];
  for (const label of Int32Array.from(classes).sort()) {
    const run = runs.at(-1);
    if (run !== undefined && run[1] === label - 1) run[1] = label;
    else runs.push([label, label]);
  }
  const named = runs.slice(0, MOST_RUNS).map(([first, last]) =>
    first === last ? `${first}` : `${first} to ${last}`
  );
  return [...named, ...runs.length > MOST_RUNS ? ["..."] : []].join(", ");
}
