/**
 * Returns options without those that are not set, which count as left out: spread over defaults they would replace them. Not set
 * is what is `undefined`, or `null` as in JSON.
 *
 * @param nullable names of options for which `null` says something else
 */
export function withoutUnset<Options extends object>(
  options: Options,
  nullable: readonly (keyof Options & string)[] = [],
): Options {
  const isSet = ([name, value]: [string, unknown]) =>
    value !== undefined && (value !== null || (nullable as readonly string[]).includes(name));
  return Object.fromEntries(Object.entries(options).filter(isSet)) as Options;
}
