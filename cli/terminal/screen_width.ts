/** How wide the screen is. */

/** Returns the columns of the terminal that stdout is, or `otherwise` where it is none. */
export function screenWidth(otherwise: number): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return otherwise; // a file or a pipe
  }
}
