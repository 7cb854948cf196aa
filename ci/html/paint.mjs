// Prints as JSON when the page that the first argument names is first painted, milliseconds, what it asks for, and
// how often it violates rules of accessibility. Needs the packages of package.json beside it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
const paints = [];
let requests = 0;
let violations = 0;
for (let nth = 0; nth < 3; nth += 1) {
  const page = await (await browser.newContext({ bypassCSP: true })).newPage();
  page.on("request", () => { requests += 1; });
  await page.goto(pathToFileURL(process.argv[2]).href);
  paints.push(await page.evaluate(() => new Promise((resolve) => {
    new PerformanceObserver((list) => {
      for (const { name, startTime } of list.getEntries()) if (name === "first-contentful-paint") resolve(startTime);
    }).observe({ type: "paint", buffered: true });
  })));
  if (nth === 0) {
    await page.evaluate(axe);
    const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
    violations = (await page.evaluate((values) => window.axe.run({ runOnly: { type: "tag", values } }), tags)).violations.length;
  }
  await page.context().close();
}
await browser.close();
console.log(JSON.stringify({ paint_ms: paints.sort((a, b) => a - b)[1], requests: requests / 3, violations }));
