/** The messages in docs/troubleshooting.md are still the program's. */
import { assert, assertGreater } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "./snippets.ts";

/** Words of a message in a row that must stand in the program's text, and their length: the rest is filled in. */
const WORDS = 3;
const LENGTH = 14;

/** All TypeScript that can print something, its string literals joined where they are cut. */
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
  return texts.join("\n").replaceAll(/["`]\s*\+\s*["`]/g, "").replaceAll(/\\(["`])/g, "$1");
}

Deno.test("docs/troubleshooting.md: each message is in the program, in part at least", () => {
  const program = programText();
  const page = Deno.readTextFileSync(join(ROOT, "docs/troubleshooting.md"));
  const messages = [...page.matchAll(/^ {4}(\S.*)$/gm)].map(([, message]) => message);
  assertGreater(messages.length, 40);
  for (const message of messages) {
    const words = message.replace(/^(error|warning):? +/, "").split(" ");
    const parts = words.map((_, i) => words.slice(i, i + WORDS)).filter(({ length }) => length === WORDS)
      .map((part) => part.join(" ")).filter(({ length }) => length >= LENGTH);
    assert(parts.some((part) => program.includes(part)), `no part of this is in the program: ${message}`);
  }
});
