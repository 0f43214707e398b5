/** DINOv2's vision transformers in PyTorch, as people run them: eager, on the GPU where PyTorch has one, else the processor. */
import { join } from "node:path";
import { TensorValue, torchDict } from "../models/checkpoint/torch_value.ts";
import { writeTorchFile } from "../models/checkpoint/torch_writer.ts";
import { summarize } from "../models/registry.ts";
import { findDifference, type Timing } from "./measure.ts";
import type { OnnxWork } from "./onnxruntime.ts";
import { runPython } from "./python.ts";

/** What PyTorch finds. */
interface Found {
  /** Normalised embeddings [n, width] in float32. */
  embeddings: number[];
  /** Milliseconds of a batch by the precision: `float32`, and on a GPU `autocast`. */
  times: Record<string, Timing>;
}

/**
 * The arguments are a folder with the weights and the images, how many images of which size, the side of a patch, the number of
 * heads and the rounds. On a GPU the images are there already and TF32 is off; embeddings are read back, as ours are.
 */
const SCRIPT = `
import json, math, os, sys, time, torch
import torch.nn.functional as F
folder, batch, size, patch, heads, rounds = sys.argv[1], *map(int, sys.argv[2:])
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.set_grad_enabled(False)
device = "cuda" if torch.cuda.is_available() else "cpu"
w = {k: v.to(device) for k, v in torch.load(os.path.join(folder, "weights.pth"), map_location="cpu").items()}
with open(os.path.join(folder, "images.f32"), "rb") as file:
    images = torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(batch, 3, size, size).to(device)

def positions(n):
    table = w["pos_embed"]
    grid, width = math.isqrt(table.shape[1] - 1), table.shape[2]
    if grid == n: return table
    patches = table[:, 1:].reshape(1, grid, grid, width).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, scale_factor=((n + 0.1) / grid,) * 2, mode="bicubic")
    return torch.cat([table[:, :1], patches.permute(0, 2, 3, 1).reshape(1, n * n, width)], 1)

table = positions(size // patch)
layer = lambda x, name: F.linear(x, w[name + ".weight"], w[name + ".bias"])
norm = lambda x, name: F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-6)

def attend(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"): return F.scaled_dot_product_attention(q, k, v)
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v

def embed():
    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch).flatten(2).transpose(1, 2)
    x = torch.cat([w["cls_token"].expand(batch, -1, -1), x], 1) + table
    n, t, width = x.shape
    block = 0
    while f"blocks.{block}.norm1.weight" in w:
        b = f"blocks.{block}."
        q, k, v = layer(norm(x, b + "norm1"), b + "attn.qkv").reshape(n, t, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        y = layer(attend(q, k, v).transpose(1, 2).reshape(n, t, width), b + "attn.proj")
        x = x + y * w[b + "ls1.gamma"]
        y = layer(F.gelu(layer(norm(x, b + "norm2"), b + "mlp.fc1")), b + "mlp.fc2")
        x = x + y * w[b + "ls2.gamma"]
        block += 1
    return F.normalize(norm(x, "norm")[:, 0].float(), dim=1).cpu()

def timed():
    repetitions = 20 if device == "cuda" else 1
    for _ in range(repetitions): embed()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(repetitions): embed()
        times.append((time.perf_counter() - start) / repetitions * 1000)
    times.sort()
    return {"median": times[len(times) // 2], "min": times[0], "max": times[-1]}

found = {"embeddings": embed().flatten().tolist(), "times": {"float32": timed()}}
if device == "cuda":
    with torch.autocast("cuda", torch.float16): found["times"]["autocast"] = timed()
print(json.dumps(found))
`;

/**
 * Times PyTorch on a DINOv2 without registers.
 *
 * @param ours the embeddings that it has to give
 * @returns times by the precision; none where there is no PyTorch, or where its embeddings are others
 */
export async function timeTorchVit(
  { encoder, head, weights, batch, imageSize, images }: OnnxWork,
  ours: ArrayLike<number>,
  rounds: number,
): Promise<Record<string, Timing>> {
  const folder = await Deno.makeTempDir();
  try {
    const dict = torchDict(
      summarize(encoder, head).state.map(({ key, shape }) =>
        [key, new TensorValue("float32", shape, weights.get(key)!)] as const
      ),
    );
    await writeTorchFile(join(folder, "weights.pth"), dict);
    await Deno.writeFile(
      join(folder, "images.f32"),
      new Uint8Array(images.buffer as ArrayBuffer, images.byteOffset, images.byteLength),
    );
    const numbers = [batch, imageSize, encoder.sizes!.multiple, encoder.heads!, rounds];
    const found = await runPython<Found>(SCRIPT, folder, ...numbers.map(String));
    if (found === undefined) return {};
    const difference = findDifference({ embeddings: ours }, { embeddings: found.embeddings });
    if (difference === undefined) return found.times;
    console.log(`left out: with PyTorch ${difference}`);
    return {};
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
