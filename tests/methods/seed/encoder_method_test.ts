import { assertEquals } from "@std/assert";
import { DISTILLATION } from "../../../methods/seed/encoder_method.ts";
import type { DistillOptions } from "../../../methods/seed/options.ts";
import { RunFolder } from "../../actors/small_run.ts";

Deno.test("a distillation says where its small views are augmented otherwise than the large ones", async () => {
  using folder = new RunFolder(4);
  const options = folder.options("run");
  const notesOf = async (changes: Partial<DistillOptions>) => {
    const notes: string[] = [];
    await DISTILLATION.identify({ ...options, ...changes }, ({ text }) => notes.push(text));
    return notes.filter((text) => text.includes("small views"));
  };
  assertEquals(await notesOf({ augmentation: "mocov2" }), []);
  assertEquals(await notesOf({ smallViews: 2, augmentation: undefined }), []);
  assertEquals(await notesOf({ smallViews: 2, augmentation: "swav" }), []);
  assertEquals(await notesOf({ smallViews: 2, augmentation: "mocov2" }), [
    "--augmentation mocov2 is for the large views; small views have SWAV's augmentation",
  ]);
});
