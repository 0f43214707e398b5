/** Ranks on two machines, and ranks that are killed at any moment. */
import { assert, assertEquals, assertMatch } from "@std/assert";
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

mpiTest(
  "a cable that is pulled out ends the ranks on both machines, and they go on to the same bits",
  async (launcher) => {
    using folder = new RunFolder(24);
    const epochs = { "--epochs": "40" }; // the cable is out before they are over
    const near = await distillBy(launcher, folder, "near", epochs);
    assertEquals(near.code, 0, near.stderr);
    const output = join(folder.path, "far");
    await withMachines(async (machines) => {
      const run = distillBy(launcher, folder, "far", { ...epochs, "--save-every": "2" }, machines);
      await untilSaved(output);
      await machines.setCable("down");
      const start = performance.now();
      const areThere = () => [0, 1].some((rank) => pidOf(rank, output) !== undefined);
      while (areThere()) await new Promise((resolve) => setTimeout(resolve, 100));
      const seconds = (performance.now() - start) / 1000;
      assert(seconds > 20 && seconds < 50, `${seconds} s`);
      // The launcher waits for its daemon on the other machine.
      await machines.setCable("up");
      const { code, stderr } = await run;
      assert(code !== 0);
      assertMatch(stderr, /error: rank 1 has not been heard of for \d+ s .*All ranks end; resume the run/);
      const log = Deno.readTextFileSync(join(output, "log_rank1.txt"));
      assertMatch(log, /rank 1 of 2 on seed-10\.9\.0\.2[^]*rank 0 has not been heard of for \d+ s/);
    });
    const resumed = await distillBy(launcher, folder, "far", { ...epochs, "--resume": "auto" });
    assertEquals(resumed.code, 0, resumed.stderr);
    assertEquals(await digestLast(output), await digestLast(join(folder.path, "near")));
  },
  launchers.filter((launcher) => launcher === "mpirun.openmpi"),
  true,
);
