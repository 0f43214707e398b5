/** What a bench ran on. */
import type { Gpu } from "../kernels/gpu.ts";

/** A machine, as far as it matters for a bench. */
export interface Machine {
  /** Names its folder among the results. */
  slug: string;
  adapter: string;
  /** Model, and the widest vectors that it has. */
  processor: string;
  cores: number;
  /** By library. */
  versions: Record<string, string>;
}

/** Reads `/proc/cpuinfo` where there is one. */
function describeProcessor(): { model: string; vectors: string } {
  try {
    const text = Deno.readTextFileSync("/proc/cpuinfo");
    const model = /^model name\s*:\s*(.*)$/m.exec(text)?.[1].trim() ?? "unknown processor";
    const flags = /^flags\s*:\s*(.*)$/m.exec(text)?.[1].split(" ") ?? [];
    const vectors = ["avx512f", "avx2", "avx"].find((flag) => flags.includes(flag)) ?? "";
    return { model, vectors: { avx512f: "AVX-512", avx2: "AVX2", avx: "AVX" }[vectors] ?? "" };
  } catch {
    return { model: Deno.build.arch, vectors: "" };
  }
}

/** This machine; the versions of npm packages are those of `deno.json`. */
export async function describeMachine({ adapter }: Gpu): Promise<Machine> {
  const { model, vectors } = describeProcessor();
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url))) as {
    imports: Record<string, string>;
  };
  const versionOf = (name: string) => imports[name].split("@").at(-1)!;
  const processor = vectors === "" ? model : `${model} with ${vectors}`;
  const slug = `${adapter.name} ${adapter.isSoftware ? vectors : ""}`.toLowerCase().replaceAll(
    /[^a-z0-9]+/g,
    "-",
  ).replaceAll(
    /^-|-$/g,
    "",
  );
  return {
    slug,
    adapter: adapter.name,
    processor,
    cores: navigator.hardwareConcurrency,
    versions: {
      Deno: Deno.version.deno,
      tfjs: versionOf("@tensorflow/tfjs"),
      "jax-js": versionOf("@jax-js/jax"),
      "onnxruntime-web": versionOf("onnxruntime-web"),
    },
  };
}
