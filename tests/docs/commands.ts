/** The commands that the documentation gives. */
import { join } from "node:path";
import { ROOT } from "./snippets.ts";

/** The pages, as paths from the checkout. */
export const PAGES = [
  "README.md",
  ...[...Deno.readDirSync(join(ROOT, "docs"))].map(({ name }) => name).filter((name) => name.endsWith(".md"))
    .sort().map((name) => `docs/${name}`),
];

/** The text of a page. */
export function read(page: string): string {
  return Deno.readTextFileSync(join(ROOT, page));
}

/** A command of a page: one that stands in a line of its own, or in the text between backticks. */
export interface Command {
  /** As it is written, its lines joined. */
  text: string;
  task: string;
  args: string[];
  /** Whether it is to be typed as it is, and not only named. */
  isWhole: boolean;
}

/** A command's words as a shell splits them, without the comment behind them. */
function splitWords(text: string): string[] {
  return [...text.replace(/\s#.*$/, "").matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) =>
    quoted ?? plain
  );
}

/** The commands of a page, in their order: those of lines first. */
export function commandsOf(page: string): Command[] {
  const text = read(page).replaceAll(/\\\n\s*/g, "");
  const lines = [...text.matchAll(/^ {4}((?:\.\/seed|deno task) .*)$/gm)].map(([, command]) => command);
  const inText = [...text.replaceAll(/^ {4}.*$/gm, "").matchAll(/`((?:\.\/seed|deno task)\s[^`]+)`/g)]
    .map(([, command]) => command.replaceAll(/\s+/g, " "));
  return [
    ...lines.map((text) => ({ text, isWhole: true })),
    ...inText.map((text) => ({ text, isWhole: false })),
  ]
    .map(({ text, isWhole }) => {
      const [task, ...args] = splitWords(text.replace(/^(\.\/seed|deno task) /, ""));
      return { text, isWhole, task, args };
    });
}
