/**
 * Image search over HTTP: a program that wires two of the actors itself. The teacher embeds images of the bundled sample,
 * and what is posted; the names of the most similar ones come back. On this machine only.
 *
 *     deno run -A examples/image_search.ts [IMAGES] [PORT]
 *     curl --data-binary @image.jpg http://127.0.0.1:8001/search
 */
import {
  ActorSystem,
  BrokenRowError,
  decodeImage,
  type Image,
  maxPixelsOfAdapter,
  openDataset,
  packImages,
  SAMPLE_DATA,
  SAMPLE_TEACHER,
  type Sink,
  spawnActor,
  UserError,
} from "@seed/distillation";

const [count = "200", port = "8001"] = Deno.args;
const [SIZE, DIMENSION] = [32, 128];
const maxPixels = await maxPixelsOfAdapter(); // a larger image is refused here, not by the augmenter
const system = new ActorSystem();
const waiting = new Map<number, (embedding: Float32Array) => void>();
// The teacher passes its batches on to a sink, which is this very thread: it knows who waits for which image.
const results = system.listen<Sink>("results", {
  consume({ position, embeddings }) {
    waiting.get(position.batch)!(new Float32Array(embeddings));
    waiting.delete(position.batch);
  },
});
const teacher = spawnActor(system, "encoder", {
  encoder: { path: SAMPLE_TEACHER },
  output: "normalized",
  batchSize: 1,
  imageSize: SIZE,
  next: results,
}).ref;
const views = { kind: "evaluation" } as const;
const augmenter =
  spawnActor(system, "augmenter", { batchSize: 1, imageSize: SIZE, views, next: teacher }).ref;

let images = 0;
async function embed(image: Image): Promise<Float32Array> {
  const batch = images++;
  const embedding = new Promise<Float32Array>((resolve) => waiting.set(batch, resolve));
  await augmenter.tell("augment", {
    position: { epoch: 0, batch, endsEpoch: false },
    origin: "nobody",
    purpose: "queries",
    images: packImages([{ ...image, row: batch, label: -1 }]),
    views: new ArrayBuffer(SIZE * SIZE * 4),
    embeddings: new ArrayBuffer(DIMENSION * 4),
  });
  return await embedding;
}

using dataset = await openDataset(`${SAMPLE_DATA}/train.tsv`);
const rows = await dataset.readRows(Array.from({ length: Number(count) }, (_, row) => row));
const index = await Promise.all(rows.map(async (row) => {
  if (row instanceof BrokenRowError) throw row;
  const { key: name, image } = row;
  return { name, embedding: await embed(image instanceof Uint8Array ? await decodeImage(image) : image) };
}));
console.log(`${index.length} images can be searched at http://127.0.0.1:${port}/search`);

const serve = async (request: Request): Promise<Response> => {
  if (request.method !== "POST") return new Response("POST an image file\n", { status: 405 });
  const query = await embed(await decodeImage(await request.bytes(), { maxPixels }));
  const dot = (key: Float32Array) => key.reduce((sum, value, i) => sum + value * query[i], 0);
  const found = index.map(({ name, embedding }) => ({ name, similarity: dot(embedding) }));
  return Response.json(found.toSorted((a, b) => b.similarity - a.similarity).slice(0, 5));
};
const onError = (error: unknown) =>
  new Response(`${(error as Error).message}\n`, { status: error instanceof UserError ? 400 : 500 });
Deno.serve({ hostname: "127.0.0.1", port: Number(port), onListen() {}, onError }, serve);
