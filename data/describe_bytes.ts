/** How numbers of bytes are shown. */

const GIB = 2 ** 30;

/** Bytes in the unit that suits them. */
export function describeBytes(bytes: number): string {
  return bytes < 1e6
    ? `${(bytes / 1e3).toFixed(0)} kB`
    : bytes < 1e9
    ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
    : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Bytes of memory or of a disk in GiB, as adapters and systems count them. */
export function describeGib(bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`;
}
