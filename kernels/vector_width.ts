/**
 * How wide the vectors are that a software adapter computes with. Mesa's llvmpipe takes 256 bits on every x86 processor
 * unless it is told to take more, and with AVX-512 it is half as fast as it could be.
 */
import { cacheFolder } from "../cache_folder.ts";

/** Where llvmpipe is told its width, in bits. It reads this once, when a process first opens it. */
const WIDTH = "LP_NATIVE_VECTOR_WIDTH";

/** Where Mesa keeps compiled kernels. It does not tell those of one width from those of another. */
const CACHE = "MESA_SHADER_CACHE_DIR";

/** Invocations in a vector of 256 bits, which all software adapters are taken to have that do not say otherwise. */
const USUAL_LANES = 8;

/** Invocations that an adapter runs in one vector register, from its name, e.g. `llvmpipe (LLVM 15.0.6, 256 bits)`. */
export function vectorLanes(adapter: string): number {
  const bits = Number(/\b(\d+) bits\b/.exec(adapter)?.[1]);
  return bits >= 128 ? bits / 32 : USUAL_LANES;
}

/**
 * Has llvmpipe use the 512 bits of a processor with AVX-512, with a cache of its own. What the environment says already is
 * left as it is. To be called before the first adapter of the process is asked for.
 */
export function preferWideVectors(): void {
  if (Deno.env.get(WIDTH) !== undefined || !hasAvx512()) return;
  const cache = Deno.env.get(CACHE) ?? makeCacheFolder();
  if (cache === undefined) return; // to compile again in every process costs more than it brings
  Deno.env.set(CACHE, cache);
  Deno.env.set(WIDTH, "512");
}

/** The program's own folder for such things. Mesa keeps nothing where the folder is missing. */
function makeCacheFolder(): string | undefined {
  const folder = cacheFolder();
  if (folder === undefined) return undefined;
  const isAllowed = (name: "read" | "write") =>
    Deno.permissions.querySync({ name, path: folder }).state === "granted";
  try {
    if (isAllowed("write")) Deno.mkdirSync(folder, { recursive: true });
    return isAllowed("read") && Deno.statSync(folder).isDirectory ? folder : undefined;
  } catch {
    return undefined; // a home that cannot be written to
  }
}

// glibc's sys/platform/x86.h: a leaf's four registers as the processor has them, then as the system lets them be used.
const LEAF_7 = 1;
const USABLE_EBX = (4 + 1) * 4;

/** Foundation, doubleword and quadword, byte and word, vector length: bits of EBX. */
const AVX512 = [16, 17, 30, 31];

/** Whether processor and system have AVX-512. `/proc/cpuinfo` is closed to a program that does not have all permissions. */
function hasAvx512(): boolean {
  if (Deno.build.target !== "x86_64-unknown-linux-gnu") return false;
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") return false;
  try {
    const { symbols } = Deno.dlopen("libc.so.6", {
      __x86_get_cpuid_feature_leaf: { parameters: ["u32"], result: "pointer" },
    });
    const leaf = symbols.__x86_get_cpuid_feature_leaf(LEAF_7);
    if (leaf === null) return false;
    const usable = new Deno.UnsafePointerView(leaf).getUint32(USABLE_EBX);
    return AVX512.every((bit) => (usable >>> bit & 1) === 1);
  } catch {
    return false; // glibc before 2.33, or another libc
  }
}
