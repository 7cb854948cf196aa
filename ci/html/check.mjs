// Looks at pages/*.html in a browser, and exits 1 if one of them is not as it must be.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
const names = readdirSync("pages").map((file) => file.replace(".html", "")).sort();
const address = (name) => pathToFileURL(`pages/${name}.html`).href;

let failed = 0;
const check = (name, holds, what) => {
  if (!holds) {
    failed += 1;
    console.log(`${name}: FAILED: ${what}`);
  }
};

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

// a page with what it asked for and what it complained about
const open = async (name, options = {}, url = address(name)) => {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
  const page = await context.newPage();
  const seen = { requests: [], messages: [] };
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => seen.messages.push(message.text()));
  page.on("pageerror", (error) => seen.messages.push(String(error)));
  await page.goto(url);
  return { context, page, seen };
};

// the whole page, as far as a picture can be that high
const picture = async (page, path) => {
  const [width, height] = await page.evaluate(() => [innerWidth, document.documentElement.scrollHeight]);
  await page.screenshot({ path, fullPage: true, clip: { x: 0, y: 0, width, height: Math.min(height, 12_000) } });
};

for (const name of names) {
  const { context, page, seen } = await open(name);
  check(name, seen.requests.length === 1, `requests: ${seen.requests}`);
  check(name, seen.messages.length === 0, `messages: ${seen.messages}`);
  check(name, await page.locator("#tools").isVisible(), "the script did not run");
  check(name, (await page.title()) !== "pwned", "a script from outside ran");
  check(name, (await page.locator("img").count()) === 0, "there is an image");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  check(name, !wide, "it is wider than 1200 px");
  await picture(page, `${name}-light.png`);
  await context.close();
  console.log(`${name}: ${statSync(`pages/${name}.html`).size} bytes`);
}

// accessible, however it is looked at
for (const name of names) {
  for (const colorScheme of ["light", "dark"]) {
    const { context, page } = await open(name, { colorScheme, bypassCSP: true });
    await page.evaluate(axe);
    const { violations } = await page.evaluate((values) => window.axe.run({ runOnly: { type: "tag", values } }), tags);
    const said = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
    check(`${name} ${colorScheme}`, violations.length === 0, said.join("\n  "));
    if (colorScheme === "dark") await picture(page, `${name}-dark.png`);
    await context.close();
  }
}

// narrow screens
for (const name of ["one", "sweep", "hostile"]) {
  const { context, page } = await open(name, { viewport: { width: 390, height: 844 } });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  check(name, !wide, "it is wider than 390 px");
  await picture(page, `${name}-390.png`);
  await context.close();
}

// what the script does
{
  const { context, page } = await open("sweep");
  const column = () => page.locator("#sweep-section > .wide tbody td:nth-child(2)").allInnerTexts();
  const before = await column();
  const sort = page.locator("#sweep-section > .wide thead th:nth-child(2) button");
  await sort.click();
  await sort.click();
  const sorted = [...before].sort((a, b) => Number(b) - Number(a));
  check("sort", String(await column()) === String(sorted), await column());
  check("sort", (await page.locator("th[aria-sort=descending]").count()) === 1, "no aria-sort");
  const heading = await page.locator("#sweep").innerText();
  await page.locator("#language").focus();
  await page.keyboard.press("Enter");
  check("language", (await page.locator("#sweep").innerText()) !== heading, "the heading is the same");
  check("language", (await page.locator("html").getAttribute("lang")) === "zh", "the page is not Chinese");
  await page.locator("#language").click();
  check("language", (await page.locator("#sweep").innerText()) === heading, "the heading is not the first again");
  await page.locator("#theme").click();
  check("theme", (await page.locator("html").getAttribute("data-theme")) === "dark", "the theme is the same");
  await page.locator("#fold").click();
  check("fold", (await page.locator(".run > details[open]").count()) === 0, "groups are open");
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.locator("#markdown").click();
  const text = await page.evaluate(() => navigator.clipboard.readText());
  check("markdown", /^\| Run \|.*\n\|---\|/.test(text) && text.includes("| parallel_1_number_10 |"), text);
  await context.close();
}

// the words of a page do not depend on how it became Chinese
{
  const english = await open("sweep");
  await english.page.locator("#language").click();
  const chinese = await open("sweep-zh");
  const words = ({ page }) => page.locator("main").innerText();
  const [switched, written] = [await words(english), await words(chinese)];
  check("language", switched === written, "the button and --lang zh make different pages");
  await english.context.close();
  await chinese.context.close();
}

// without scripts, and where a server forbids scripts and inline styles
const policy = "sandbox; default-src 'none'; img-src 'self'; style-src 'self'";
const server = createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": policy });
  response.end(readFileSync(`pages${request.url}`));
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.on("listening", resolve));
for (const name of ["sweep", "failed"]) {
  const quiet = await open(name, { javaScriptEnabled: false });
  check(name, !(await quiet.page.locator("#tools").isVisible()), "there are buttons without a script");
  const forbidden = await open(name, {}, `http://127.0.0.1:${server.address().port}/${name}.html`);
  for (const { page, context } of [quiet, forbidden]) {
    for (const what of ["h1", "#main table", "figure svg"]) {
      for (const one of await page.locator(what).all()) {
        if (what === "#main table" && !(await one.isVisible())) continue;
        const box = await one.boundingBox();
        check(name, box !== null && box.width > 20 && box.height > 5, `${what} is not seen without scripts`);
      }
    }
    await picture(page, `${name}-${page === quiet.page ? "no-script" : "forbidden"}.png`);
    await context.close();
  }
}
server.close();

// hostile text is seen as text
{
  const { context, page } = await open("hostile");
  const text = await page.locator("body").innerText();
  check("hostile", text.includes("</script><img src=x onerror=") && text.includes("{{7*7}}"), "the text is not seen");
  check("hostile", text.includes("‹U+202E›") && text.includes("‹U+0007›"), "what is invisible is not seen");
  check("hostile", statSync("pages/hostile.html").size < 200_000, "10 MB of text are not cut");
  await context.close();
}

// on paper
for (const format of ["A4", "Letter"]) {
  const { context, page } = await open("one");
  const pdf = await page.pdf({ path: `one-${format}.pdf`, format });
  const pages = pdf.toString("latin1").match(/\/Type\s*\/Page\b(?!s)/g).length;
  check(format, pages <= 12, `${pages} pages of a single run`);
  console.log(`${format}: ${pages} pages, ${pdf.length} bytes`);
  await context.close();
}

await browser.close();
console.log(failed === 0 ? "ci/html: all checks passed" : `ci/html: ${failed} checks failed`);
process.exit(failed === 0 ? 0 : 1);
