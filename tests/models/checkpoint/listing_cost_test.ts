/** Small files that ask `inspect` for long listings: each is listed, or refused in one line, within 512 MiB. */
import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { IS_LONG } from "../../long.ts";
import { withFolder } from "./fixtures.ts";
import { inspectPeak, writePacked } from "./inspect_peak.ts";

const MAX_MIB = 512;
/** Each limit once: of lines, and of what a line has. Others are for `test:long`. */
const QUICK = ["150,000 values", "a list of lists, which are shared"];

/** BININT of every number below `count`, each with `value` behind it: the entries of a dict. */
function numbered(count: number, value: string): string {
  const keys = new Int32Array(count).map((_, i) => i);
  const bytes = new Uint8Array(keys.buffer);
  return Array.from(
    { length: count },
    (_, i) => `J${String.fromCharCode(...bytes.subarray(4 * i, 4 * i + 4))}${value}`,
  ).join("");
}

const LONG_KEY = `X\xff\0\0\0${"k".repeat(255)}`;
/** An integer of a thousand bytes, remembered as 1. */
const LONG_INTEGER = `\x8b\xe8\x03\0\0${"\x7f".repeat(1000)}q\x010`;

for (
  const [what, pickle] of [
    ["150,000 values", `}(${numbered(150_000, "N")}u.`],
    // Each level adds a key to the names of all values.
    [
      "values below 90 levels of long keys",
      `${`}${LONG_KEY}`.repeat(90)}}(${numbered(100_000, "N")}u${"s".repeat(90)}.`,
    ],
    // To write one in decimals takes long.
    ["50,000 integers of a thousand bytes", `${LONG_INTEGER}}(${numbered(50_000, "h\x01")}u.`],
    ["a list of lists, which are shared", `](${"N".repeat(1000)}lq\x010(${"h\x01".repeat(1000)}l.`],
  ] as const
) {
  Deno.test(`inspect takes little memory for ${what}`, {
    ignore: !QUICK.includes(what) && !IS_LONG,
  }, async () => {
    await withFolder(async (folder) => {
      const path = `${folder}/long.pth`;
      await writePacked(path, pickle);
      assertLess(Deno.statSync(path).size, 5e6);
      const { code, stdout, stderr, peak } = await inspectPeak(path);
      assertLess(peak ?? 0, MAX_MIB);
      if (code === 0) assertMatch(stdout, /^value/m);
      else assertMatch(stderr, /^error: .*long\.pth: [^\n]{0,600}\n$/);
      assert(code === 0 || code === 1, `code ${code}: ${stderr.slice(0, 300)}`);
    });
  });
}

Deno.test("inspect says at once what is no file", async () => {
  await withFolder(async (folder) => {
    const { code: made } = await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output()
      .catch(() => ({ code: 1 }));
    const cases = [[folder, "folder"], ["/dev/zero", "device"], ["/dev/null", "device"]];
    if (made === 0) cases.push([`${folder}/pipe`, "named pipe"]);
    else console.log("not tried: a pipe, there is no mkfifo");
    for (const [path, kind] of cases) {
      const { code, stdout, stderr } = await inspectPeak(path);
      assertEquals([code, stdout], [1, ""]);
      assert(stderr.startsWith(`error: ${path}: is a ${kind}`), stderr);
    }
  });
});
