// What axe-core and our own eyes find wrong with listings: accessibility.mjs ORIGIN AXE
import { readFileSync } from "node:fs";
import { Browser } from "./browser.mjs";
import { PAGES } from "./pages.mjs";

// The narrowest that WCAG 2.2 wants to fit without scrolling sideways (1.4.10), and a desktop.
const SCREENS = [{ width: 320, height: 640 }, { width: 1280, height: 800 }];

const [origin, axe] = process.argv.slice(2);
const axeSource = readFileSync(axe, "utf8");
const browser = await Browser.start();
let problems = 0;

// All that is wrong with the page that is shown, a line each.
async function findings() {
  const { violations, passes } = JSON.parse(await browser.evaluate(
    `${axeSource}; axe.run().then(({ violations, passes }) => JSON.stringify({ violations, passes: passes.length }))`,
  ));
  const overflow = await browser.evaluate("document.documentElement.scrollWidth - innerWidth");
  const styled = await browser.evaluate("getComputedStyle(document.querySelector('.pictures')).display === 'none'");
  return [
    ...violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`)),
    ...(passes < 20 ? [`only ${passes} rules were tried`] : []),
    ...(overflow > 0 ? [`${overflow} px wider than the screen`] : []),
    ...(styled ? [] : ["the stylesheet is not applied"]),
    ...browser.complaints.splice(0),
  ];
}

try {
  for (const [page, path] of Object.entries(PAGES)) {
    for (const size of SCREENS) {
      for (const scheme of ["light", "dark"]) {
        await browser.look(origin + path, { ...size, scheme });
        const found = await findings();
        problems += found.length;
        console.log(`${page}, ${size.width} px, ${scheme}: ${found.length === 0 ? "fine" : found.join("\n")}`);
      }
    }
  }
  // What finds nothing proves nothing, unless it can find something.
  await browser.evaluate("document.documentElement.removeAttribute('lang')");
  if ((await findings()).length === 0) {
    problems += 1;
    console.log("a page without a language went unnoticed");
  }
} finally {
  await browser.stop();
}
process.exit(problems === 0 ? 0 : 1);
