// Parity of ResNet-18 to 152.
import { testEncoders } from "./encoder_parity.ts";

testEncoders("resnet");
