/** Ranks on two machines, and ranks that are killed at any moment. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { Random } from "../../../data/random.ts";
import { RunFolder } from "../../actors/small_run.ts";
import { launchers, mpiTest } from "../../actors/ranks/launch.ts";
import { withMachines } from "../../actors/ranks/machines.ts";
import { checkpoints, digestLast, distillBy, EPOCHS, pidOf, untilSaved } from "./ranked_distill.ts";

mpiTest(
  "ranks that are killed ten times at random go on to the bits of an unbroken run",
  async (launcher) => {
    using folder = new RunFolder(24);
    const whole = await distillBy(launcher, folder, "whole");
    assertEquals(whole.code, 0, whole.stderr);
    const random = new Random(1, "kills");
    let isWhole = false;
    let kills = 0;
    const output = join(folder.path, "killed");
    while (!isWhole) {
      const run = distillBy(launcher, folder, "killed", { "--resume": "auto", "--save-every": "2" });
      const killed = (async () => {
        if (kills === 10) return;
        await untilSaved(output);
        await new Promise((resolve) => setTimeout(resolve, random.uniform(0, 1500)));
        const pid = pidOf(random.integer(0, 1), output);
        if (pid === undefined) return; // it was faster
        Deno.kill(pid, "SIGKILL");
        kills++;
      })();
      const { code } = await run;
      await killed;
      isWhole = code === 0;
    }
    assert(kills > 0);
    assertEquals(await digestLast(output), await digestLast(join(folder.path, "whole")));
  },
  launchers,
  true,
);

mpiTest(
  "two machines, joined by a network, compute the bits of two ranks on one",
  async (launcher) => {
    using folder = new RunFolder(24);
    const near = await distillBy(launcher, folder, "near");
    assertEquals(near.code, 0, near.stderr);
    await withMachines(async (machines) => {
      const far = await distillBy(launcher, folder, "far", {}, machines);
      assertEquals(far.code, 0, far.stderr);
      // Gradients, keys and weights have gone through the network.
      assert(await machines.sentBytes() > 100_000);
    });
    assertEquals(checkpoints(join(folder.path, "far")).length, EPOCHS);
    assertEquals(await digestLast(join(folder.path, "far")), await digestLast(join(folder.path, "near")));
  },
  launchers.filter((launcher) => launcher === "mpirun.openmpi"),
  true,
);
