// Parity of ResNet-50 to 152, the wide ResNets, SimCLR and SWAV.
import { testEncoders } from "./encoder_parity.ts";

testEncoders("bottleneck");
