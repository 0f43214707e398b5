/**
 * Counter-based random numbers: a value depends on the seed, the name of its stream and its index alone, so any
 * Worker can draw the numbers of any image without having drawn those before it. This is what makes a run give the
 * same bits for any number of reader workers, and lets a resumed run go on where it stopped.
 */
import { crc32 } from "node:zlib";

/** MurmurHash3's 32-bit finaliser: every output bit depends on every input bit. */
export function mix32(x: number): number {
  x ^= x >>> 16;
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** A stream of random numbers, named by a seed and any number of integers or strings. */
export class Random {
  #key0: number;
  #key1: number;
  #counter = 0;

  /**
   * @param seed the run's seed
   * @param stream what the numbers are for, e.g. `("augment", epoch, row)`
   */
  constructor(seed: number, ...stream: (number | string)[]) {
    let a = mix32(seed ^ 0x9e3779b9);
    let b = mix32(Math.floor(seed / 2 ** 32) ^ 0x7f4a7c15 ^ a);
    for (const part of stream) {
      const word = typeof part === "string" ? crc32(part) : part;
      a = mix32(a ^ mix32(word ^ 0x85ebca6b));
      b = mix32((b + Math.imul(a, 0x9e3779b1)) ^ Math.floor(word / 2 ** 32));
    }
    this.#key0 = a;
    this.#key1 = b;
  }

  /** 32 random bits. */
  bits(): number {
    const i = this.#counter++;
    return mix32(mix32(Math.imul(i, 0x9e3779b1) + this.#key0) ^ this.#key1 ^ i);
  }

  /** In [0, 1), 53 bits. */
  uniform(low = 0, high = 1): number {
    const u = ((this.bits() >>> 5) * 67108864 + (this.bits() >>> 6)) / 9007199254740992;
    return low + (high - low) * u;
  }

  /** An integer in [low, high]. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** `true` with the given probability. */
  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** From the standard normal distribution (Box-Muller, one of the pair). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Shuffles in place (Fisher-Yates) and returns what it was given. */
  shuffle<T extends Uint32Array | unknown[]>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(0, i);
      const held = items[i];
      items[i] = items[j];
      items[j] = held as never;
    }
    return items;
  }

  /** The numbers from 0 to `count - 1` in a random order. */
  permutation(count: number): Uint32Array<ArrayBuffer> {
    return this.shuffle(Uint32Array.from({ length: count }, (_, i) => i));
  }
}
