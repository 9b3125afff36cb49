// The page of `wgan serve`: the server draws.

import * as images from "./http.js";
import { start } from "./page.js";

document.getElementById("api").hidden = false;
start(images);
