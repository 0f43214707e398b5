/** Imports the plugin that stands behind `#` in this module's URL by the import map of its folder, for {@linkcode workerImports}. */
import { importPlugins } from "./plugins.ts";

await importPlugins([decodeURIComponent(new URL(import.meta.url).hash.slice(1))]);
