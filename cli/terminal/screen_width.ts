/** How wide the screen is. */

/** Returns the columns of the terminal that stdout is, or `otherwise` where it is none, or has no width. */
export function screenWidth(otherwise: number): number {
  // Deno would tell the width of another stream's terminal.
  if (!Deno.stdout.isTerminal()) return otherwise;
  try {
    return Deno.consoleSize().columns || otherwise;
  } catch {
    return otherwise;
  }
}
