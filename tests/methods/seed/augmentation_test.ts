import { assertEquals } from "@std/assert";
import { augmentationOf } from "../../../methods/seed/augmentation.ts";
import type { TeacherSsl } from "../../../models/encoder.ts";

Deno.test("parity: the teacher decides the augmentation as in the original's main.py, small views that of main_small-patch.py", () => {
  const rows: [ssl: TeacherSsl, studentMlp: boolean, smallViews: number, expected: string][] = [
    ["moco", true, 0, "mocov2"],
    ["moco", false, 0, "mocov1"],
    ["simclr", true, 0, "simclr"],
    ["simclr", false, 0, "simclr"],
    ["swav", true, 0, "swav"],
    ["swav", false, 0, "swav"],
    ["swav", true, 6, "swav"],
    ["moco", true, 6, "swav"],
    ["moco", false, 6, "swav"],
    ["simclr", true, 6, "swav"],
  ];
  for (const [teacherSsl, studentMlp, smallViews, expected] of rows) {
    const options = { teacherSsl, studentMlp, smallViews };
    assertEquals(augmentationOf(options), expected, JSON.stringify(options));
    assertEquals(augmentationOf({ ...options, augmentation: "plain" }), "plain");
  }
});
