/** What the text of a module imports, by the names that it has in it. */

const IMPORTS = [
  /^(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']/gm,
  /^import\s*["']([^"']+)["']/gm,
  /^(?!\s*(?:\*|\/\/)).*\bimport\(\s*["']([^"']+)["']/gm,
];

/** Names of the modules that a text imports or exports from, imports of types and dynamic ones included. */
export function importedNames(text: string): string[] {
  return IMPORTS.flatMap((pattern) => [...text.matchAll(pattern)].map(([, name]) => name));
}
