/** The documentation's sentences are short enough to be read once. */
import { assertEquals } from "@std/assert";
import { PAGES, read } from "./commands.ts";

/** Words that a sentence has at most. */
const LIMIT = 25;

/** The sentences of a page's text: without its code, tables, headings and HTML. */
function sentencesOf(text: string): string[] {
  return text.replaceAll(/```[^]*?```/g, "").split("\n").filter((line) => !/^( {4}|[|#<])/.test(line)).join(
    "\n",
  )
    .split(/\n\s*\n|^(?:- |\d+\. )/m)
    .flatMap((paragraph) => paragraph.trim().replaceAll(/\s+/g, " ").split(/(?<=[.!?]) (?=[A-Z`"([])/));
}

function longSentencesOf(text: string): string[] {
  return sentencesOf(text).filter((sentence) => sentence.split(" ").length > LIMIT);
}

for (const page of PAGES) {
  Deno.test(`${page}: no sentence has more than ${LIMIT} words`, () => {
    assertEquals(longSentencesOf(read(page)), [], `split or shorten these sentences of ${page}`);
  });
}

Deno.test("a sentence of 26 words is found in text and lists, and passed over in code and tables", () => {
  const long = `A ${"long ".repeat(LIMIT - 1)}sentence.`;
  const short = `A ${"short ".repeat(LIMIT - 2)}sentence.`;
  assertEquals(longSentencesOf(`${short} Another.\n\n${short}\n- ${short}\n1. ${short}\n`), []);
  assertEquals(longSentencesOf(`One. ${long} Two.\n\n- ${long.replace(" ", "\n  ")}\n1. ${long}`), [
    long,
    long,
    long,
  ]);
  assertEquals(longSentencesOf(`# ${long}\n\n    ${long}\n\n| ${long} |\n\n\`\`\`\n${long}\n\`\`\`\n`), []);
});
