/** Exported files in PyTorch and torchvision. Skipped where Python lacks them. */
import { assertEquals, assertLess } from "@std/assert";
import { loadStateDict } from "../../../models/checkpoint/state_dict.ts";
import { exportEncoder, type ExportOptions } from "../../../models/export/export_encoder.ts";
import { relativeError } from "../../kernels/check_op.ts";
import { IS_LONG } from "../../long.ts";
import { testWithPython } from "../../python.ts";
import { formulaTensor, referenceJson } from "../../reference.ts";
import { withFolder } from "../checkpoint/fixtures.ts";
import { assertSameTensors, formulaTensors, isHead, writeMoco } from "./fixtures.ts";

const MODULES = { torch: "python3-torch", numpy: "python3-numpy", torchvision: "python3-torchvision" };
const DEFAULTS = { format: "pth", part: "backbone", imageSize: 64, normalize: false, force: false } as const;

/** Python: what both scripts end with: the model in eval mode on images from a file, and its weights saved again. */
const FINISH = `
import json
images = numpy.fromfile(sys.argv[3], dtype="float32").reshape(-1, 3, 64, 64)
with torch.no_grad(): outputs = model.eval()(torch.from_numpy(images))
torch.save(saved, sys.argv[4])
print(json.dumps({"shape": list(outputs.shape), "outputs": outputs.flatten().tolist()}))`;

const BACKBONE = `
import sys, numpy, torch, torchvision
model = getattr(torchvision.models, sys.argv[2])()
model.fc = torch.nn.Identity()
model.load_state_dict(torch.load(sys.argv[1]), strict=True)
saved = model.state_dict()${FINISH}`;

/** MoCo-v2 gives its encoder_q the head of two layers and trains it wrapped in DistributedDataParallel. */
const MOCO = `
import sys, numpy, torch, torchvision
checkpoint = torch.load(sys.argv[1])
assert (checkpoint["arch"], checkpoint["epoch"]) == (sys.argv[2], 200)
class MoCo(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder_q = getattr(torchvision.models, checkpoint["arch"])(num_classes=128)
        width = self.encoder_q.fc.weight.shape[1]
        self.encoder_q.fc = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), self.encoder_q.fc)
    def forward(self, images): return self.encoder_q(images)
model = torch.nn.DataParallel(MoCo())
model.load_state_dict(checkpoint["state_dict"], strict=True)
saved = {**checkpoint, "state_dict": model.state_dict()}${FINISH}`;

// A ResNet-50 differs in its blocks alone.
for (const arch of IS_LONG ? ["resnet18", "resnet50"] : ["resnet18"]) {
  testWithPython(
    `parity: an exported ${arch} loads strictly into torchvision and MoCo, computes the same, and comes back bit for bit`,
    MODULES,
    async (run) => {
      await withFolder(async (folder) => {
        const tensors = formulaTensors(arch);
        const checkpoint = await writeMoco(`${folder}/a.pth.tar`, tensors, arch);
        const { batch, embedding } = referenceJson("embeddings.json")[arch].eval64;
        const images = formulaTensor("input/64", [batch, 3, 64, 64], "image");
        Deno.writeFileSync(`${folder}/images`, new Uint8Array(images.buffer));
        const throughPython = async (script: string, options: ExportOptions) => {
          const { files: [file] } = await exportEncoder(options);
          const resaved = `${folder}/resaved.pth`;
          const { shape, outputs } = await run(script, file, arch, `${folder}/images`, resaved);
          return { resaved, shape, outputs: outputs as number[] };
        };

        const backbone = await throughPython(BACKBONE, { ...DEFAULTS, checkpoint });
        await assertSameTensors(backbone.resaved, tensors.filter((tensor) => !isHead(tensor)));

        const encoder = await throughPython(MOCO, { ...DEFAULTS, checkpoint, part: "encoder" });
        assertEquals(encoder.shape, [batch, 128]);
        assertLess(relativeError(Float32Array.from(encoder.outputs), embedding.flat()), 1e-4);
        await assertSameTensors(encoder.resaved, tensors);
        using state = await loadStateDict(encoder.resaved);
        assertEquals([state.framework, state.arch, state.epoch], ["moco", arch, 200]);
      });
    },
  );
}
