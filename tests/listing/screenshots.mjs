// Pictures of listings: screenshots.mjs ORIGIN DIRECTORY
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { PAGES } from "./pages.mjs";

const SCREENS = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } };

const [origin, directory] = process.argv.slice(2);
const browser = await Browser.start();
try {
  for (const [page, path] of Object.entries(PAGES)) {
    for (const [screen, size] of Object.entries(SCREENS)) {
      for (const scheme of ["light", "dark"]) {
        await browser.look(origin + path, { ...size, scheme });
        const file = join(directory, `${page}-${screen}-${scheme}.png`);
        writeFileSync(file, await browser.screenshot());
        console.log(file);
      }
    }
  }
} finally {
  await browser.stop();
}
