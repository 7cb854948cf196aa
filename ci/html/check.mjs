// Looks at pages/*.html in a browser, and exits 1 if one of them is not as it must be. The groups are those of
// ci/html/run; `node check.mjs GROUP…` runs some of them.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const names = readdirSync("pages").map((file) => file.replace(".html", "")).sort();
const address = (name) => pathToFileURL(`pages/${name}.html`).href;
const SHOWN = ".run:not([hidden])";

let failed = 0;
const check = (name, holds, what) => {
  if (holds) return;
  failed += 1;
  console.log(`${name}: FAILED: ${what}`);
};

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

// a page with what it asked for and what it complained about, until `look` has seen it
const visit = async (name, look, { url = address(name), ...options } = {}) => {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
  const page = await context.newPage();
  const seen = { requests: [], messages: [] };
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => seen.messages.push(message.text()));
  page.on("pageerror", (error) => seen.messages.push(String(error)));
  await page.goto(url);
  await look(page, seen, context);
  check(name, seen.messages.length === 0, `messages: ${seen.messages}`);
  await context.close();
};

// the whole page, as far as a picture can be that high
const picture = async (page, path) => {
  const [width, height] = await page.evaluate(() => [innerWidth, document.documentElement.scrollHeight]);
  await page.screenshot({ path, fullPage: true, clip: { x: 0, y: 0, width, height: Math.min(height, 12_000) } });
};

// how many pixels of a picture are close to a colour, and how many are not white or grey
const eye = await (await browser.newContext()).newPage();
const pixels = (png, colour) => eye.evaluate(async ([data, wanted]) => {
  const image = new Image();
  image.src = "data:image/png;base64," + data;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const bytes = pen.getImageData(0, 0, image.width, image.height).data;
  let [close, drawn] = [0, 0];
  for (let at = 0; at < bytes.length; at += 4) {
    const [r, g, b] = [bytes[at], bytes[at + 1], bytes[at + 2]];
    if (Math.min(r, g, b) < 200) drawn += 1;
    if (Math.abs(r - wanted[0]) + Math.abs(g - wanted[1]) + Math.abs(b - wanted[2]) < 30) close += 1;
  }
  return { close, drawn };
}, [png.toString("base64"), colour]);
const BLUE = [0x00, 0x67, 0xa5];

const violations = async (page, name) => {
  await page.evaluate(axe);
  const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await page.evaluate((values) => window.axe.run({ runOnly: { type: "tag", values } }), tags);
  const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
  check(name, said.length === 0, said.join("\n  "));
};

// when something was first seen, milliseconds
const painted = (page) => page.evaluate(() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    for (const { name, startTime } of list.getEntries()) if (name === "first-contentful-paint") resolve(startTime);
  }).observe({ type: "paint", buffered: true });
}));

const figure = (page, id) => page.locator(`${SHOWN} figure[id$="-${id}"]`);
// from one share of a chart's width to another
const drag = async (page, id, from, to) => {
  const chart = figure(page, id).locator("svg.chart");
  await chart.scrollIntoViewIfNeeded();
  const place = await chart.boundingBox();
  const y = place.y + place.height * 0.4;
  await page.mouse.move(place.x + place.width * from, y);
  await page.mouse.down();
  await page.mouse.move(place.x + place.width * to, y + 5, { steps: 4 });
  await page.mouse.up();
};
const windows = (page) => page.evaluate((shown) =>
  [...document.querySelectorAll(`${shown} .panel[data-unit-s] .plot`)].map((plot) => plot.getAttribute("viewBox")), SHOWN);

const groups = {
  // 2: valid HTML and a script that parses (the first group are the tests in Rust)
  html() {
    execFileSync("npx", ["html-validate", "pages/*.html"], { stdio: "inherit", shell: true });
    const page = readFileSync("pages/sweep.html", "utf8");
    writeFileSync("page.js", page.slice(page.lastIndexOf("<script>") + 8, page.lastIndexOf("</script>")));
    execFileSync("node", ["--check", "page.js"], { stdio: "inherit" });
    const scales = new Function(`${readFileSync("scale.js", "utf8")}; return scales;`)();
    for (const { scale, low, high, want, ticks } of JSON.parse(readFileSync("scale-cases.json", "utf8"))) {
      const made = scales[scale](low, high, want).ticks;
      check("scale", JSON.stringify(made) === JSON.stringify(ticks), `${scale} ${low} ${high}: ${made}`);
    }
  },

  // 3: one request, no message, what the script does
  async script() {
    for (const name of names) {
      await visit(name, async (page, seen) => {
        check(name, seen.requests.length === 1, `requests: ${seen.requests}`);
        check(name, await page.locator("#tools").isVisible(), "the script did not run");
        check(name, !(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)), "it is wider than 1200 px");
      });
      console.log(`${name}: ${statSync(`pages/${name}.html`).size} bytes`);
    }
    // the quickest of three: the machine may have other things to do
    const paints = [];
    for (let nth = 0; nth < 3; nth += 1) await visit("sweep", async (page) => paints.push(await painted(page)));
    check("sweep", Math.min(...paints) < 1000, `painted after ${paints} ms`);
    await visit("sweep", sweep);
    await visit("sweep", charts);
    await visit("sweep", requests);
    await visit("stall", async (page) => {
      await page.locator("#requests-table").getByLabel("failed").check();
      const rows = page.locator("#requests-table tbody tr");
      check("filter", (await rows.count()) > 0 && (await rows.count()) === (await page.locator("#requests-table tr.failed").count()),
        "the filter shows others than failures");
      check("errors", /^\d/.test(await page.locator("#errors ~ .wide td:nth-child(3)").first().innerText()), "a failure has no first time");
    });
    await visit("not-streamed", async (page) => {
      const missing = await page.locator(".missing").allInnerTexts();
      check("not-streamed", missing.join().includes("not streamed"), missing);
    });
    const deep = await new Promise((resolve) => { visit("sweep", async (page) => {
      const id = await page.locator("#requests-table button.open").nth(5).innerText();
      await page.locator("#requests-table button.open").nth(5).click();
      resolve({ url: page.url(), id });
    }); });
    await visit("sweep", async (page) => {
      check("deep link", await page.locator("#drawer").isVisible(), `no drawer at ${deep.url}`);
      check("deep link", (await page.locator("#drawer-name").innerText()).includes(deep.id.replace(/\D/g, "")), "another request");
    }, { url: deep.url });
    // by keyboard alone: to the theme, and through a chart
    await visit("sweep", async (page) => {
      for (let step = 0; step < 3 && (await page.evaluate(() => document.activeElement.id)) !== "theme"; step += 1) await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      check("keyboard", (await page.locator("html").getAttribute("data-theme")) === "dark", "Enter does not change the theme");
      await figure(page, "r5").locator("svg.chart").focus();
      await page.keyboard.press("End");
      await page.keyboard.press("Shift+ArrowLeft");
      await page.waitForTimeout(500);
      check("keyboard", /In flight, mean: \d/.test(await page.locator("#live").innerText()), "the live region has no values");
      check("keyboard", (await page.locator(`${SHOWN} .cursor`).count()) > 4, "the cursor is not in all charts of time");
      await page.keyboard.press("]");
      const [zoomed, ...others] = new Set(await windows(page));
      check("keyboard", zoomed !== undefined && others.every((one) => !one.startsWith("0 ")), "] does not zoom");
      await page.keyboard.press("Escape");
      check("keyboard", (await windows(page)).every((one) => one.startsWith("0 ")), "Escape does not show all");
    });
  },

  // 4: accessible, however it is looked at
  async access() {
    const dark = ["failed", "hostile", "stall", "sweep"];
    for (const name of names) {
      for (const colorScheme of ["light", "dark"].filter((scheme) => scheme === "light" || dark.includes(name))) {
        await visit(name, (page) => violations(page, `${name} ${colorScheme}`), { colorScheme, bypassCSP: true });
      }
    }
    await visit("sweep", async (page) => {
      await page.locator("#sweep-section tbody input").first().check();
      await drag(page, "r4", 0.3, 0.5);
      await violations(page, "compared and zoomed");
      const table = figure(page, "r7").locator("table");
      check("lanes", (await table.locator("tbody tr").count()) > 5, "the lanes have no table");
      check("lanes", await figure(page, "r7").locator("canvas").isVisible(), "zoom shows no lanes on a canvas");
      await page.locator("#requests-table button.open").first().click();
      await violations(page, "drawer");
    }, { bypassCSP: true });
  },

  // 5 and 6: without scripts, and where a server forbids scripts and inline styles
  async forbidden() {
    const policy = "sandbox; default-src 'none'; img-src 'self'; style-src 'self'";
    const server = createServer((request, response) => {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": policy });
      response.end(readFileSync(`pages${request.url}`));
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.on("listening", resolve));
    const url = (name) => `http://127.0.0.1:${server.address().port}/${name}.html`;
    for (const name of ["sweep", "failed"]) {
      for (const [how, options] of [["no-script", { javaScriptEnabled: false }], ["forbidden", { url: url(name) }]]) {
        const look = async (page, seen) => {
          seen.messages.length = 0; // the browser says what it forbids
          check(name, !(await page.locator("#tools").isVisible()), "there are buttons without a script");
          check(name, (await page.locator("#main table").count()) > 0 && (await page.locator("h1").isVisible()), "there is no text");
          for (const chart of await page.locator("figure svg.chart").all()) {
            const { drawn, close } = await pixels(await chart.screenshot(), BLUE);
            const id = await chart.getAttribute("id");
            check(name, drawn > 1000, `${how}: ${id} has ${drawn} pixels`);
            // runs with successes have a blue line in each of these
            check(name, name === "failed" || !/-r[45]$/.test(id) || close > 30, `${how}: a line of ${id} has not its colour: ${close} pixels`);
          }
          const rows = await page.locator("#main table tbody tr").count();
          check(name, name === "failed" || rows > 200, `${how}: ${rows} rows in all tables`);
          await picture(page, `${name}-${how}.png`);
          seen.messages.length = 0;
        };
        await visit(name, look, options);
      }
    }
    server.close();
  },

  // 7: hostile text is seen as text, and does nothing
  async hostile() {
    await visit("hostile", async (page) => {
      const text = await page.locator("body").innerText();
      check("hostile", text.includes("</script><img src=x onerror=") && text.includes("{{7*7}}"), "the text is not seen");
      check("hostile", text.includes("‹U+202E›") && text.includes("‹U+0007›"), "what is invisible is not seen");
      check("hostile", statSync("pages/hostile.html").size < 200_000, "10 MB of text are not cut");
      await page.locator("#requests-table button.open").first().click();
      check("hostile", (await page.locator("#drawer").innerText()).length > 100, "the drawer is empty");
      check("hostile", (await page.title()) !== "pwned" && (await page.locator("img").count()) === 0, "a script from outside ran");
      const raw = await page.evaluate(() => /[\u202a-\u202e]/.test(document.body.innerText));
      check("hostile", !raw, "a text turns the direction of others");
    });
  },

  // 8: on paper
  async paper() {
    for (const format of ["A4", "Letter"]) {
      await visit("one", async (page) => {
        const pdf = await page.pdf({ path: `one-${format}.pdf`, format });
        const pages = pdf.toString("latin1").match(/\/Type\s*\/Page\b(?!s)/g).length;
        check(format, pages <= 12, `${pages} pages of a single run`);
        console.log(`${format}: ${pages} pages, ${pdf.length} bytes`);
      });
    }
    await visit("stall", (page) => page.pdf({ path: "stall-A4.pdf", format: "A4" }));
    await visit("sweep", (page) => page.pdf({ path: "sweep-A4.pdf", format: "A4" }));
    for (const name of ["one", "stall"]) {
      const text = execFileSync("pdftotext", [`${name}-A4.pdf`, "-"], { encoding: "utf8" });
      check(name, text.includes("TTFT") && text.includes("http://"), "its PDF has no text to select");
      check(name, !text.includes("Copy table"), "buttons are printed");
    }
  },

  // 9: pictures, also on narrow screens
  async pictures() {
    for (const name of ["sweep", "stall", "hostile"]) {
      for (const colorScheme of ["light", "dark"]) await visit(name, (page) => picture(page, `${name}-${colorScheme}.png`), { colorScheme });
      await visit(name, async (page) => {
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        check(name, wide <= 390, `it is ${wide} px wide on a screen of 390 px`);
        await picture(page, `${name}-390.png`);
      }, { viewport: { width: 390, height: 844 } });
    }
    await visit("sweep-zh", (page) => picture(page, "sweep-zh.png"));
  },
};

// the table of a sweep, its charts, and the languages
async function sweep(page, _, context) {
  const column = () => page.locator("#sweep-section > .wide tbody td:nth-child(2)").allInnerTexts();
  const before = await column();
  const sort = page.locator("#sweep-section > .wide thead th:nth-child(2) button");
  await sort.click();
  await sort.click();
  const sorted = [...before].sort((a, b) => Number(b) - Number(a));
  check("sort", String(await column()) === String(sorted), await column());
  check("sort", (await page.locator("#sweep-section th[aria-sort=descending]").count()) === 1, "no aria-sort");
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
  await page.locator("#fold").click();
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.locator("#markdown").click();
  const text = await page.evaluate(() => navigator.clipboard.readText());
  check("markdown", /^\| Run \|.*\n\|---\|/.test(text) && text.includes("| parallel_1_number_10 |"), text);

  // the words of a page do not depend on how it became Chinese
  const fresh = async (name, act) => {
    let words = "";
    await visit(name, async (other) => {
      await act(other);
      words = await other.locator("main").innerText();
    });
    return words;
  };
  const switched = await fresh("sweep", (other) => other.locator("#language").click());
  const written = await fresh("sweep-zh", async () => {});
  const differs = switched.split("\n").find((line, nth) => line !== written.split("\n")[nth]);
  check("language", switched === written, `the button and --lang zh make different pages: ${differs}`);
}

// the cursor, zoom, choices and downloads of charts
async function charts(page) {
  const { runs } = JSON.parse(readFileSync("sweep.json", "utf8"));
  const curve = page.locator("#sweep-s1 svg.chart");
  await curve.scrollIntoViewIfNeeded();
  const place = await curve.boundingBox();
  await page.mouse.move(place.x + place.width * 0.97, place.y + place.height * 0.5);
  const box = await page.locator("#box").innerText();
  const near = runs.find((one) => box.startsWith(one.name));
  const [, p50, p99] = /TTFT p50 \/ p99: ([\d.,]+) \/ ([\d.,]+)/.exec(box) ?? [];
  const equal = (text, value) => Math.abs(Number(text?.replaceAll(",", "")) - value) <= value * 0.0006;
  check("hover", near && equal(p50, near.metrics.ttft_ms.p50) && equal(p99, near.metrics.ttft_ms.p99), box);
  await page.locator("#sweep-s1 select").nth(1).selectOption("latency_s");
  check("choice", (await curve.textContent()).includes("Latency p99 (s)"), "the curve has no latency");
  await page.locator("#sweep-s1 select").nth(1).selectOption("ttft_ms");

  // other runs, and several together
  await page.locator("body").press("2");
  check("run", (await page.locator(SHOWN).getAttribute("id")) === "run-2", "the key 2 shows another run");
  await page.locator("#sweep-section tbody input").nth(3).check();
  check("run", (await page.locator(SHOWN).getAttribute("id")) === "run-4", "a check shows another run");
  const legend = await figure(page, "r1").locator("svg.chart .key").allTextContents();
  check("compare", legend.length === 2 && legend[0].startsWith("parallel_4_"), `the curve compares ${legend}`);
  check("compare", (await figure(page, "r9").locator("svg.chart .key").count()) === 2, "gaps are not compared");
  await page.locator("body").press("5");

  // another metric
  await figure(page, "r2").locator("select").selectOption("tpot_ms");
  check("choice", (await figure(page, "r2").innerText()).includes("TPOT over time"), "the heatmap has no TPOT");
  check("choice", (await figure(page, "r2").locator(".plot path[class^=k]").count()) > 5, "the heatmap has no cells");
  await figure(page, "r3").locator("select").selectOption("itl_ms");
  check("choice", (await figure(page, "r3").locator("svg.chart").textContent()).includes("ITL (ms)"), "percentiles have no ITL");

  // the time of one chart is that of all
  const all = await windows(page);
  await drag(page, "r4", 0.3, 0.5);
  const zoomed = await windows(page);
  // but the lanes, which are drawn anew
  const same = zoomed.filter((one, nth) => one === all[nth]);
  check("zoom", same.length <= 1, `not all charts are zoomed: ${zoomed}`);
  const wide = Number(zoomed[0].split(" ")[2]) / Number(all[0].split(" ")[2]);
  check("zoom", wide > 0.1 && wide < 0.4, `it shows ${wide} of the time`);
  await page.locator("#requests-table").getByLabel("in the zoomed window").check();
  const inWindow = Number(/^\d+/.exec(await page.locator("#requests-count").innerText())[0]);
  await page.locator("#requests-table").getByLabel("in the zoomed window").uncheck();
  check("zoom", inWindow < Number(/^\d+/.exec(await page.locator("#requests-count").innerText())[0]), "the table is not narrowed");
  await figure(page, "r5").locator("svg.chart").dblclick({ position: { x: 200, y: 80 } });
  check("zoom", String(await windows(page)) === String(all), "a double click does not show all");

  // entries of legends
  const keys = figure(page, "r5").locator(".key");
  await keys.nth(1).click();
  check("legend", (await keys.nth(1).getAttribute("aria-pressed")) === "false", "an entry is not pressed");
  const name = (await keys.nth(1).getAttribute("class")).split(" ").find((one) => /^m\d/.test(one));
  check("legend", !(await figure(page, "r5").locator(`.plot .${name}`).isVisible()), "its line is seen");
  await keys.nth(1).click({ modifiers: ["Alt"] });
  const pressed = await keys.evaluateAll((list) => list.map((one) => one.getAttribute("aria-pressed")));
  check("legend", pressed.filter((one) => one === "true").length === 1, `alone: ${pressed}`);

  for (const kind of ["SVG", "PNG", "CSV"]) {
    const [file] = await Promise.all([page.waitForEvent("download"), figure(page, "r5").getByRole("button", { name: kind }).click()]);
    await file.saveAs(`r5.${kind.toLowerCase()}`);
  }
  check("download", readFileSync("r5.csv", "utf8").split("\n")[0].includes("mean of the bin"), "the CSV has no heading");
  check("download", readFileSync("r5.svg", "utf8").includes("rgb(0, 103, 165)"), "the SVG has no colours");
  const { close } = await pixels(readFileSync("r5.png"), BLUE);
  check("download", close > 0 || statSync("r5.png").size > 5000, "the PNG is empty");
}

// the table of requests
async function requests(page) {
  const cells = (column) => page.locator(`#requests-table tbody tr td:nth-child(${column})`).allInnerTexts();
  const count = async () => Number(/^[\d,]+/.exec(await page.locator("#requests-count").innerText())[0].replace(",", ""));
  await page.locator("#requests-table th[data-key=latency_s] button").click();
  await page.locator("#requests-table th[data-key=latency_s] button").click();
  const latencies = (await cells(5)).map(Number);
  check("requests", latencies.length === 100 && latencies.every((one, nth) => nth === 0 || one <= latencies[nth - 1]), "not sorted by latency");
  await page.locator("#requests-table").getByRole("button", { name: "Next page" }).click();
  check("requests", Number((await cells(5))[0]) <= latencies.at(-1), "the next page does not go on");
  const every = await count();
  const id = (await cells(9))[3];
  await page.locator("#requests-search").fill(id);
  check("requests", (await count()) >= 1 && (await count()) < every && (await cells(9)).every((one) => one.includes(id)), `the search finds ${await count()}`);
  await page.locator("#requests-table button.open").first().click();
  const drawer = await page.locator("#drawer").innerText();
  check("drawer", drawer.includes(id) && drawer.includes("First token"), drawer);
  check("drawer", page.url().includes("req="), page.url());
  await page.keyboard.press("Escape");
  check("drawer", !(await page.locator("#drawer").isVisible()) && !page.url().includes("req="), "Escape does not close it");
}

const wanted = process.argv.slice(2);
for (const name of wanted.length > 0 ? wanted : Object.keys(groups)) {
  const [before, from] = [failed, Date.now()];
  await groups[name]();
  console.log(`${name}: ${failed === before ? "holds" : "does not hold"} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
}
await browser.close();
console.log(failed === 0 ? "ci/html: all checks passed" : `ci/html: ${failed} checks failed`);
process.exit(failed === 0 ? 0 : 1);
