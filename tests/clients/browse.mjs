// browse.mjs URL EXPRESSION: loads the page, evaluates the expression in it and prints what came of it; fails if the
// page complained about anything.
import { Browser } from "../listing/browser.mjs";

const [url, expression] = process.argv.slice(2);
const browser = await Browser.start();
try {
  await browser.look(url, { width: 800, height: 600, scheme: "light" });
  console.log(await browser.evaluate(expression));
  if (browser.complaints.length > 0) {
    throw new Error(`the page complains: ${browser.complaints.join("; ")}`);
  }
} finally {
  await browser.stop();
}
