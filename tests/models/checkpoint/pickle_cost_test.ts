/** Small pickles that ask for all memory or for hours: each is refused in one line, within 512 MiB. */
import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { IS_LONG } from "../../long.ts";
import { pickleText, withFolder } from "./fixtures.ts";
import { inspectPeak, writePacked } from "./inspect_peak.ts";

const MAX_MIB = 512;
/** Each limit once: of text that calls make, and of objects. Others are for `test:long`: seconds each. */
const QUICK = [
  "a path that doubles",
  "bytearrays of one long text",
  "an OrderedDict of equal pairs, again and again",
];
/** BINUNICODE of a million letters, remembered as 0. */
const MILLION = `X\x40\x42\x0f\0${"A".repeat(1e6)}q\x000`;

/** Gives a call what the call before it made, twice, so that the text doubles. */
function doubled(name: string, times: number): string {
  const step = `c${name}\n(h\0h\0tRq\x000`;
  return pickleText("A".repeat(100)) + `q\x000${step.repeat(times)}N.`;
}

for (
  const [what, pickle] of [
    ["a path that doubles", doubled("pathlib\nPosixPath", 60)],
    ["a device that doubles", doubled("torch\ndevice", 60)],
    [
      "bytes of one long text, again and again",
      `${MILLION}${"c_codecs\nencode\nh\0\x85R0".repeat(60_000)}N.`,
    ],
    ["bytearrays of one long text", `${MILLION}${"cbuiltins\nbytearray\nh\0\x85R0".repeat(20_000)}N.`],
    [
      "an OrderedDict of equal pairs, again and again",
      `](${"NN\x86".repeat(200_000)}eq\x000${"ccollections\nOrderedDict\nh\0\x85R0".repeat(5000)}N.`,
    ],
    [
      "a namespace that is given the same state again and again",
      `}(${
        Array.from({ length: 5000 }, (_, i) => `M${String.fromCharCode(i & 255, i >> 8)}N`).join("")
      }uq\x000` +
      `cargparse\nNamespace\n)R${"h\0b".repeat(500_000)}.`,
    ],
    ["names that are looked up, of a million letters", `${MILLION}${"h\0h\0\x93".repeat(1000)}.`],
    ["ten million dicts", `](${"}".repeat(1e6)}e`.repeat(10) + "."],
    ["long integers", `${`\x8b\0\x04\0\0${"\x7f".repeat(1024)}0`.repeat(60_000)}N.`],
    ["twenty million instructions", `N${"20".repeat(2e7)}.`],
  ] as const
) {
  Deno.test(`inspect takes little memory and time for ${what}`, {
    ignore: !QUICK.includes(what) && !IS_LONG,
  }, async () => {
    await withFolder(async (folder) => {
      const path = `${folder}/bomb.pth`;
      await writePacked(path, pickle);
      assertLess(Deno.statSync(path).size, 5e6);
      const { code, stdout, stderr, peak } = await inspectPeak(path);
      assertMatch(stderr + stdout, /^(error: .*bomb\.pth: [^\n]{0,600}\n$|file )/);
      assertEquals(code, stderr === "" ? 0 : 1);
      assertLess(peak ?? 0, MAX_MIB);
    });
  });
}
