// The page of `wgan export --format web`: the browser draws.

import * as images from "./onnx.js";
import { start } from "./page.js";

start(images);
