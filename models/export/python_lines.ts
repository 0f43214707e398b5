/** Lines of Python that open an exported file, for people. */
import type { HeadOptions } from "../heads.ts";
import { findEncoder, stemNameOf } from "../registry.ts";
import { type ExportOptions, type ExportResult, PREFIXES } from "./export_encoder.ts";

/** What the lines depend on. */
export type Exported =
  & Pick<ExportOptions, "format" | "part" | "normalize">
  & Pick<ExportResult, "files" | "names" | "encoder" | "head">;

/**
 * Lines of Python that load the file: into torchvision's model where there is one that computes the same, else as tensors
 * by name. They need `import torch, torchvision, safetensors.torch, onnxruntime`, as far as these are named in them.
 */
export function pythonLines(exported: Exported): string[] {
  const { format, part, normalize, files, names = "plain" } = exported;
  const file = JSON.stringify(files[0]); // a Python string too
  if (format === "onnx") {
    const output = part === "backbone" ? "feature" : normalize ? "normalized" : "embedding";
    return [`onnxruntime.InferenceSession(${file}).run(["${output}"], {"images": images})`];
  }
  const content = format === "pth" ? `torch.load(${file})` : `safetensors.torch.load_file(${file})`;
  const weights = format === "pth" && names !== "plain" ? `${content}["state_dict"]` : content;
  const model = modelLines(exported);
  if (model.length === 0) return [weights];
  const prefix = PREFIXES[names];
  const plain = prefix === ""
    ? weights
    : `{key.replace("${prefix}", "", 1): value for key, value in ${weights}.items()}`;
  return [...model, `model.load_state_dict(${plain})`];
}

/** Makes torchvision's model with the layers of the part. Its backbone is the encoder's, its head is called `fc`. */
function modelLines({ part, encoder, head }: Exported): string[] {
  const found = findEncoder(encoder);
  const { torchvision, features, ssl } = found;
  if (torchvision === undefined) return [];
  const lines = [`model = torchvision.models.${torchvision}()`];
  const stem = stemNameOf(found);
  if (stem !== "imagenet") {
    const padding = stem === "cifar" ? 1 : 2;
    lines.push(
      `model.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=${padding}, bias=False)`,
      "model.maxpool = torch.nn.Identity()",
    );
  }
  if (part === "backbone" || head === undefined) return [...lines, "model.fc = torch.nn.Identity()"];
  const layers = headLayers(features, head);
  // SWAV's own head lies beside the network, so that `model(images)` gives features.
  return ssl === "swav" && !head.isClassifier
    ? [...lines, "model.fc = torch.nn.Identity()", `model.projection_head = ${layers}`]
    : [...lines, `model.fc = ${layers}`];
}

function headLayers(features: number, { kind, dimension, hidden = features }: HeadOptions): string {
  if (kind === "linear") return `torch.nn.Linear(${features}, ${dimension})`;
  const layers = [
    `torch.nn.Linear(${features}, ${hidden})`,
    ...kind === "mlp_bn" ? [`torch.nn.BatchNorm1d(${hidden})`] : [],
    "torch.nn.ReLU()",
    `torch.nn.Linear(${hidden}, ${dimension})`,
  ];
  return `torch.nn.Sequential(${layers.join(", ")})`;
}
