/** What `deno task bench:reliability` measures, as tests; both take long. */
import { assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import { soak, storm, type Usage } from "../../bench/reliability.ts";
import { IS_LONG } from "../long.ts";

const ignore = !IS_LONG;

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "seed_reliability_" });
  try {
    await test(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test({
  name: "a distillation of 20,000 steps takes no more memory and files at its end than before",
  ignore: ignore || Deno.build.os !== "linux",
  fn: () =>
    inFolder(async (folder) => {
      const found = await soak(folder, 20_000);
      assertEquals(found.length, 100);
      // The least of a quarter: what is more was on its way then.
      const growth = (of: (usage: Usage) => number) => {
        const [before, after] = [found.slice(25, 50), found.slice(75)].map((part) =>
          Math.min(...part.map(of))
        );
        return after - before;
      };
      // Half a kilobyte that is lost at every step.
      assertLess(growth(({ allocatedMiB, heapMiB }) => allocatedMiB + heapMiB), 5);
      // What is neither in heaps nor in arenas.
      assertLess(growth(({ otherMiB }) => otherMiB), 40);
      assertAlmostEquals(found[99].files, found[10].files, 3);
      // All that is resident, with what lies free in heaps and arenas: it fails now and then where nothing above does.
      const mean = (part: Usage[]) =>
        part.reduce((sum, { residentMiB }) => sum + residentMiB, 0) / part.length;
      // One batch's views lost at every step would be 80 MiB.
      assertLess(mean(found.slice(75)) - mean(found.slice(25, 50)), 40);
    }),
});

Deno.test({
  name: "50 crashes of actors drawn at random lose no step, and give the bytes of a run without a crash",
  ignore,
  fn: () =>
    inFolder(async (folder) => {
      const { crashes, stepsLost, isSame } = await storm(folder, 50);
      assertEquals(Object.values(crashes).reduce((sum, count) => sum + count, 0), 50);
      assertEquals([stepsLost, isSame], [0, true]);
    }),
});
