// A program that reads a folder's images while it has as many open files as it may: see image_folder_test.ts.
import { BrokenRowError } from "../../data/dataset.ts";
import { ImageFolder } from "../../data/image_folder.ts";
import { UserError } from "../../errors.ts";

using folder = await ImageFolder.open(Deno.args[0]);
const read = async () => {
  const rows = await folder.readRows([...Array(folder.rowCount).keys()]);
  return rows.map((row) => row instanceof BrokenRowError ? row.message : row.key);
};
const first = await read(); // all modules are loaded
const held: Deno.FsFile[] = [];
try {
  while (true) held.push(Deno.openSync("/dev/null"));
} catch {
  // no more
}
const error = await read().catch((error) => error);
const result = error instanceof UserError && !(error instanceof BrokenRowError) ? error.message : error;
for (const file of held) file.close();
console.log(JSON.stringify([first, result, await read()]));
