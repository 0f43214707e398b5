import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { chooseAdapter } from "../../../actors/ranks/choose_adapter.ts";
import { UserError } from "../../../errors.ts";
import { skip } from "../../skip.ts";

/** Two drivers without a device: Mesa's llvmpipe, and SwiftShader, which Debian's Chromium brings. */
const DRIVERS = [
  "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
  "/usr/lib/chromium/vk_swiftshader_icd.json",
];
const LAYER = "/usr/share/vulkan/implicit_layer.d/VkLayer_MESA_device_select.json";
const [LLVMPIPE, SWIFTSHADER] = ["10005:0", "1ae0:c0de"];

/** Chooses as the rank of a machine that has both drivers. Returns what came of it: an adapter's name, or what was said. */
async function choose(adapters: string, localRank: number): Promise<string> {
  const urls = ["actors/ranks/choose_adapter.ts", "kernels/gpu.ts"].map((path) =>
    import.meta.resolve(`../../../${path}`)
  );
  const program = `
    const [{ chooseAdapter }, { describeAdapter }] = await Promise.all(${
    JSON.stringify(urls)
  }.map((url) => import(url)));
    try {
      await chooseAdapter({ launcher: "mpirun", localRank: ${localRank} });
      console.log((await describeAdapter()).name);
    } catch (error) {
      console.log(error.message);
    }`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", program],
    env: { VK_ICD_FILENAMES: DRIVERS.join(":"), SEED_ADAPTERS: adapters, NO_COLOR: "1" },
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).trim();
}

const name =
  "chooseAdapter() gives each rank of a machine the adapter that is listed for it, or says why not";
Deno.test(name, async () => {
  const isThere = (path: string) => Deno.stat(path).then(() => true, () => false);
  if (!(await Promise.all([...DRIVERS, LAYER].map(isThere))).every(Boolean)) {
    return skip(name, "there are not two drivers of Vulkan: apt-get install mesa-vulkan-drivers chromium");
  }
  const list = `${SWIFTSHADER.toUpperCase()}, ${LLVMPIPE}`;
  assertMatch(await choose(list, 0), /^SwiftShader/);
  assertMatch(await choose(list, 1), /^llvmpipe/);
  assertMatch(
    await choose("dead:beef", 0),
    /^SEED_ADAPTERS: rank 0 of this machine is to have dead:beef, but the system gives \S+ \(.+\)\. There is no such device/,
  );
});

Deno.test("chooseAdapter() refuses a list that does not fit, and does nothing without one", async () => {
  const launcher = "srun";
  const refused = async (list: string, localRank?: number) =>
    (await assertRejects(() => chooseAdapter({ launcher, localRank }, () => list), UserError)).message;
  assertEquals(
    await refused("10de:2330,Radeon", 0),
    'SEED_ADAPTERS: expected VENDOR:DEVICE in hexadecimal, found "radeon"',
  );
  assertEquals(
    await refused("10de:2330"),
    "SEED_ADAPTERS: srun does not say which rank of its machine a process is",
  );
  assertMatch(await refused("10de:2330", 1), /^SEED_ADAPTERS lists 1 of the adapters of this machine, but/);
  const before = Deno.env.get("MESA_VK_DEVICE_SELECT");
  await chooseAdapter({ launcher, localRank: 7 }, () => undefined);
  assertEquals(Deno.env.get("MESA_VK_DEVICE_SELECT"), before);
});
