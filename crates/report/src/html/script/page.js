// What every part of the script uses, and what belongs to the page as a whole: theme, language, copying, printing,
// sorting tables.
const root = document.documentElement;
const at = (id) => document.getElementById(id);
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
const texts = JSON.parse(at("texts").textContent);
// labels whose text is their key, and texts that stand on the page
for (const node of all("[data-l]")) node.dataset.t = "label." + node.textContent;
for (const node of all("[data-t]:not([data-with])")) texts[root.lang][node.dataset.t] ??= node.textContent;
for (const node of all("[data-t-label]")) texts[root.lang][node.dataset.tLabel] ??= node.getAttribute("aria-label");

// where pages may not keep anything, a choice lasts until the page is left
const kept = {
  get(name) { try { return localStorage.getItem("evalscope-" + name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem("evalscope-" + name, value); } catch { /* not kept */ } },
};

const text = (key, args = []) =>
  (texts[root.lang][key] ?? key.replace(/^label\./, "")).replace(/\{(\d+)\}/g, (place, nth) => args[nth] ?? place);
const say = (words) => { at("said").textContent = words; };

// an element of the page or of a drawing, with attributes and what is inside; texts are never read as markup
const make = (name, attributes = {}, ...inside) => {
  const isSvg = /^(svg|g|path|line|text|rect|circle|title|desc)$/.test(name);
  const element = isSvg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...inside.filter((one) => one !== null && one !== undefined));
  return element;
};
// a text in the language of the page that follows the language button
const words = (key, ...args) => make("span", { "data-t": key, "data-with": args.length ? JSON.stringify(args) : null }, text(key, args));
// a number as the tables have it: 4 significant digits
const shown = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const decimals = (size) => (size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : size >= 0.1 ? 4 : size >= 0.01 ? 5 : 6);
  const size = Math.abs(value);
  const fixed = value.toFixed(Number.isInteger(value) ? 0 : decimals(Number(size.toFixed(decimals(size)))));
  const [whole, rest] = fixed.split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest ? "." + rest : "");
};
// a text from outside whose control characters and direction marks are seen
const visible = (outside) => outside.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu,
  (letter) => `‹U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
// what has to be made anew in another language
const spoken = [];

// theme
const isDark = () => (root.dataset.theme
  ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
const theme = kept.get("theme");
if (theme === "dark" || theme === "light") root.dataset.theme = theme;
at("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  kept.set("theme", root.dataset.theme);
});

// language: the texts of the page, and what charts say
const chartTexts = (figure) => {
  const walker = document.createTreeWalker(figure, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) {
    if (!walker.currentNode.parentElement.closest("[data-t]")) nodes.push(walker.currentNode);
  }
  return nodes.filter((node) => node.data.trim() !== "");
};
const speak = (lang) => {
  root.lang = lang;
  for (const node of all("[data-t]")) node.textContent = text(node.dataset.t, JSON.parse(node.dataset.with ?? "[]"));
  for (const node of all("[data-t-label]")) node.setAttribute("aria-label", text(node.dataset.tLabel));
  for (const node of all("[data-only]")) node.hidden = node.dataset.only !== lang;
  const other = lang === "zh" ? "en" : "zh";
  at("language").textContent = other === "zh" ? "中文" : "English";
  at("language").lang = other;
  say("");
};
const [distinct, charts] = JSON.parse(at("chart-texts").textContent);
const written = root.lang;
const swapped = new Map(Object.entries(charts).map(([id, places]) => {
  const theirs = {};
  for (let nth = 0; nth < places.length; nth += 2) theirs[places[nth]] = distinct[places[nth + 1]];
  const nodes = chartTexts(at(id));
  return [id, { nodes, own: nodes.map((node) => node.data), theirs }];
}));
const speakCharts = (lang) => {
  for (const { nodes, own, theirs } of swapped.values()) {
    nodes.forEach((node, nth) => { node.data = lang === written ? own[nth] : theirs[nth] ?? own[nth]; });
  }
};
at("language").addEventListener("click", () => {
  speak(root.lang === "zh" ? "en" : "zh");
  speakCharts(root.lang);
  for (const renew of spoken) renew();
});

// taking away
const copy = async (words, done) => {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    const area = document.createElement("textarea");
    area.value = words;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(text(done));
};
const cellText = (cell) => {
  const words = cell.textContent.replace(/\s+/g, " ").trim();
  return words.replace(/[\\|`*<>[\]]/g, "\\$&");
};
const markdown = (table) => {
  const rows = all("tr", table).map((row) => [...row.cells].map(cellText));
  const lines = rows.map((cells) => "| " + cells.join(" | ") + " |");
  lines.splice(1, 0, "|" + rows[0].map((_, nth) => (nth === 0 ? "---" : "---:")).join("|") + "|");
  return lines.join("\n") + "\n";
};
at("markdown").addEventListener("click", () => copy(markdown(document.querySelector("main table")), "copied_table"));
if (at("copy")) {
  at("copy").hidden = false;
  at("copy").addEventListener("click", () => copy(at("command").textContent, "copied"));
}

// printing: everything open, and afterwards as before
at("print").addEventListener("click", () => print());
let closed = [];
addEventListener("beforeprint", () => {
  closed = all(".run > details:not([open]), .card details:not([open])");
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => { for (const details of closed) details.open = false; });

at("fold").addEventListener("click", () => {
  const groups = all(".run > details");
  const open = !groups.some((details) => details.open);
  for (const details of groups) details.open = open;
});

// sorting: by number where a cell begins with one, without a value last
const value = (row, column) => {
  const words = row.cells[column].textContent.trim();
  const number = Number.parseFloat(words.replaceAll(",", ""));
  return Number.isNaN(number) ? words : number;
};
const order = (a, b, sign) => {
  if ((a === "-") !== (b === "-")) return a === "-" ? 1 : -1;
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
};
const sortable = (table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => order(value(a, column), value(b, column), descending ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  });
};
all("#sweep-section > .wide > table").forEach(sortable);
for (const hint of all(".scripted")) hint.hidden = false;
