/** Small files whose tensors ask for all memory or for hours to be measured: within 512 MiB each is, or is refused. */
import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { IS_LONG } from "../../long.ts";
import { deflate, type FixtureEntry, pickleTensor, pickleText, withFolder } from "./fixtures.ts";
import { inspectPeak, writePacked } from "./inspect_peak.ts";

const MAX_MIB = 512;
/** One that is read in parts where rows are apart, and one that is refused; others are for `test:long`. */
const QUICK = ["one with a gap", "many of them"];

async function zeros(key: string, bytes: number): Promise<FixtureEntry> {
  const data = await deflate(new Uint8Array(bytes));
  return { name: `a/data/${key}`, data, method: 8, size: bytes, crc32: 0 };
}

const tensors = (list: string[]) => `}(${list.map((tensor, i) => pickleText(`w${i}`) + tensor).join("")}u.`;
const MIB = 2 ** 20;

for (
  const [what, pickle, sizes, expected] of [
    ["a small tensor in a long deflated storage", tensors([pickleTensor({ elements: 16 })]), [200 * MIB], 0],
    [
      "a long tensor of bytes that is deflated",
      tensors([pickleTensor({ type: "CharStorage", elements: 60 * MIB, shape: [60 * MIB] })]),
      [60 * MIB],
      0,
    ],
    [
      "a transposed one",
      tensors([
        pickleTensor({ type: "CharStorage", elements: 60 * MIB, shape: [2, 30 * MIB], stride: [1, 2] }),
      ]),
      [60 * MIB],
      0,
    ],
    [
      "one with a gap",
      tensors([
        pickleTensor({
          type: "CharStorage",
          elements: 60 * MIB,
          shape: [2, 29 * MIB],
          stride: [30 * MIB, 1],
        }),
      ]),
      [60 * MIB],
      0,
    ],
    [
      "a longer one",
      tensors([pickleTensor({ type: "CharStorage", elements: 200 * MIB, shape: [200 * MIB] })]),
      [200 * MIB],
      1,
    ],
    [
      "many of them",
      tensors(
        Array.from(
          { length: 12 },
          (_, i) =>
            pickleTensor({ key: String(i), type: "CharStorage", elements: 60 * MIB, shape: [60 * MIB] }),
        ),
      ),
      new Array(12).fill(60 * MIB),
      1,
    ],
    [
      "2,000 tensors that repeat one number",
      tensors(new Array(2000).fill(pickleTensor({ shape: [MIB], stride: [0] }))),
      [16],
      1,
    ],
  ] as [string, string, number[], number][]
) {
  Deno.test(`inspect --stats takes little memory for ${what}`, {
    ignore: !QUICK.includes(what) && !IS_LONG,
  }, async () => {
    await withFolder(async (folder) => {
      const path = `${folder}/bomb.pth`;
      const made = new Map<number, FixtureEntry>();
      for (const size of sizes) if (!made.has(size)) made.set(size, await zeros("0", size));
      const entries = sizes.map((size, i) => ({ ...made.get(size)!, name: `a/data/${i}` }));
      await writePacked(path, pickle, entries);
      assertLess(Deno.statSync(path).size, 5e6);
      const { code, stdout, stderr, peak } = await inspectPeak(path, "--stats");
      assertEquals(code, expected, stderr.slice(0, 300));
      if (code === 1) assertMatch(stderr, /^error: .*bomb\.pth: [^\n]{0,600}\n$/);
      else assertMatch(stdout, /^w0 .* 0\.000 +0\.000 +0\.000 +0\.000 +0$/m);
      assertLess(peak ?? 0, MAX_MIB);
    });
  });
}
