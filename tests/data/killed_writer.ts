// A program that is in the middle of writing a file, until it is killed or told to end: see temporary_test.ts.
import { replaceFile, writeAll } from "../../data/replace_file.ts";
import { makeTemporaryFolder } from "../../data/temporary.ts";

const [target, what] = Deno.args;
const untilTold = async () => {
  console.log("writing");
  await Deno.stdin.read(new Uint8Array(1));
};
if (what === "folder") {
  using folder = makeTemporaryFolder(target);
  Deno.writeTextFileSync(`${folder.path}/rows.tsv`, "half");
  await untilTold();
} else {
  await replaceFile(target, async (file) => {
    writeAll(file, new TextEncoder().encode("half"));
    await untilTold();
    writeAll(file, new TextEncoder().encode(" and half"));
  });
}
