/**
 * Returns options without those that are `undefined`, which count as left out: spread over defaults they would replace them.
 */
export function withoutUndefined<Options extends object>(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;
}
