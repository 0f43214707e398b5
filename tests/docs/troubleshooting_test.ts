/** The messages in docs/troubleshooting.md are still the program's. */
import { assertEquals, assertGreater } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "./snippets.ts";

/** Words in a row that must stand together in the program's text; fewer stand in it by chance. */
const WORDS = 3;

/**
 * Words in a row that may stand nowhere in the program: examples that do not look like such, and short texts between two
 * of them. The rest of a message is its own.
 */
const UNKNOWN = 3;

/** What a message fills in: by its looks numbers, paths and files, names in quotes and flags; and some more names. */
const isExample = (word: string) =>
  /\d|\.\.|\/|"|_|\w\.\w|^--|^(NaN|Infinity|moco|torchvision|projector|predictor)\b/.test(word);

const withoutMarks = (text: string) => text.replace(/^[\s(["]+|[\s(),.;:?"\]]+$/g, "");

/** All TypeScript that can print something, without comments, its string literals joined where they are cut. */
function programText(): string {
  const texts: string[] = [];
  const visit = (folder: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(join(ROOT, folder))) {
      const path = `${folder}/${name}`;
      if (isDirectory) visit(path);
      else if (name.endsWith(".ts")) texts.push(Deno.readTextFileSync(join(ROOT, path)));
    }
  };
  for (const folder of ["actors", "cli", "data", "kernels", "methods", "models", "ui"]) visit(folder);
  return texts.join("\n").replaceAll(/^\s*(\/\/|\/?\*).*$/gm, "")
    .replaceAll(/["`]\s*\+\s*["`]/g, "").replaceAll(/\\(["`])/g, "$1");
}

/**
 * Returns parts of a message that are neither in the program nor examples, of more words than may be; all of it where no part is
 * in the program.
 */
function unknownParts(message: string, program: string): string[] {
  const words = message.replace(/^(error|warning):? +/, "").split(/ +/);
  const isKnown = words.map(isExample);
  let isFound = false;
  for (let from = 0; from < words.length; from++) {
    for (let to = from + WORDS; to <= words.length; to++) {
      if (!program.includes(withoutMarks(words.slice(from, to).join(" ")))) break;
      isKnown.fill(true, from, to);
      isFound = true;
    }
  }
  if (!isFound) return [message];
  const marked = words.map((word, i) => isKnown[i] ? "\n" : word).join(" ");
  return marked.split("\n").map((part) => part.trim()).filter((part) => part.split(" ").length > UNKNOWN);
}

Deno.test("docs/troubleshooting.md: each message is in the program, but for its examples", () => {
  const program = programText();
  const page = Deno.readTextFileSync(join(ROOT, "docs/troubleshooting.md"));
  const messages = [...page.matchAll(/^ {4}(\S.*)$/gm)].map(([, message]) => message);
  assertGreater(messages.length, 40);
  for (const message of messages) {
    assertEquals(unknownParts(message, program), [], message);
  }
});
