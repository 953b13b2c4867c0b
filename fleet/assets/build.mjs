// Fills dist/ with what the server embeds: our own files and the pinned packages, copied as they are.
// No bundler: the console is small, and a file that is copied can be compared with the one its authors published.
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const packages = {
  "htmx.min.js": "htmx.org/dist/htmx.min.js",
  "htmx-sse.min.js": "htmx-ext-sse/dist/sse.min.js",
  "idiomorph.min.js": "idiomorph/dist/idiomorph-ext.min.js",
};

for (const path of Object.values(packages)) {
  if (!existsSync(join(here, "node_modules", path))) {
    console.error(`fleet/assets: node_modules/${path} is missing: run \`npm ci\` in fleet/assets first`);
    process.exit(1);
  }
}
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
for (const [name, path] of Object.entries(packages)) {
  copyFileSync(join(here, "node_modules", path), join(dist, name));
}
for (const name of readdirSync(join(here, "src"))) {
  copyFileSync(join(here, "src", name), join(dist, name));
}
console.log(`fleet/assets/dist: ${readdirSync(dist).sort().join(" ")}`);
