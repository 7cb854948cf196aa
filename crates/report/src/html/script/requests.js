// The requests that the page keeps: their table, one of them in a drawer, and their lanes in a window of time.
const rowsOf = (of) => {
  if (of.rows) return of.rows;
  const own = of.own.requests;
  const count = own.kept + own.warmup;
  const lists = Object.fromEntries(Object.entries(own).filter(([name, list]) => typeof list === "string" && name !== "id_prefix")
    .map(([name, list]) => [name, list === "" ? Array(count).fill(null) : varints(list).map((number) => (number === 0 ? null : number - 1))]));
  let at_us = own.first_us;
  of.rows = lists.idx.map((idx, nth) => {
    const get = (name) => lists[name][nth];
    at_us += get("after_us");
    const sent = get("sent_us");
    const since = (name) => (sent === null || get(name) === null ? null : get(name) - sent);
    const failure = own.failures[get("failure")] ?? null;
    const reason = own.reasons[get("reason")] ?? "";
    const milli = (us) => (us === null ? null : us / 1e3);
    return {
      nth, idx, failure, reason, isWarmup: nth < own.warmup, at_s: at_us / 1e6, end_s: (at_us + get("ended_us")) / 1e6,
      ttft_ms: failure ? null : milli(since("token_us")), tpot_ms: milli(get("tpot_us")),
      latency_s: failure || since("last_us") === null ? null : since("last_us") / 1e6,
      input: get("input_tokens"), cached: get("cached_tokens"), output: get("output_tokens"), events: get("events"),
      id: own.id[nth] === undefined || own.id[nth] === null ? "" : own.id_prefix + own.id[nth], due_us: get("due_us"), connected_us: get("connected_us"), sent_us: sent, first_us: get("token_us"),
      last_us: get("last_us"), ended_us: get("ended_us"), lane: get("lane"), status: failure ? failure.kind : reason,
    };
  });
  return of.rows;
};
const gapsOfRow = (of, row) => (row.isWarmup ? [] : varints(of.own.gaps[row.idx] ?? ""));

// the table
const COLUMNS = [["idx", "request.index"], ["at_s", "request.at"], ["ttft_ms", "series.ttft_ms", "ms"], ["tpot_ms", "series.tpot_ms", "ms"],
  ["latency_s", "series.latency_s", "s"], ["input", "request.input"], ["output", "request.output"], ["status", "request.status"], ["id", "request.id"]];
const PER_PAGE = 100;
const table = { sort: "at_s", sign: 1, page: 0, search: "", only: new Set() };
const tableBox = at("requests-table");
const isPicked = (row) => {
  const [, , , ttft90] = run.point.metrics.ttft_ms ?? [];
  const [, , , latency90] = run.point.metrics.latency_s ?? [];
  const wanted = table.search.toLowerCase();
  const tests = {
    failed: () => row.failure !== null,
    slow_ttft: () => row.ttft_ms !== null && row.ttft_ms >= ttft90,
    slow: () => row.latency_s !== null && row.latency_s >= latency90,
    window: () => !run.window || (row.end_s >= run.window[0] && row.at_s <= run.window[1]),
  };
  const isFound = wanted === "" || String(row.idx) === wanted
    || [row.id, row.reason, row.failure?.kind, row.failure?.message].some((one) => one?.toLowerCase().includes(wanted));
  return isFound && [...table.only].every((name) => tests[name]());
};
const renewRows = () => {
  const picked = rowsOf(run).filter(isPicked);
  const [key, sign] = [table.sort, table.sign];
  picked.sort((a, b) => {
    const [x, y] = [a[key], b[key]];
    if (x === null || y === null) return x === y ? a.nth - b.nth : x === null ? 1 : -1;
    const difference = typeof x === "string" ? x.localeCompare(y) : x - y;
    return sign * difference || a.nth - b.nth;
  });
  const pages = Math.max(Math.ceil(picked.length / PER_PAGE), 1);
  table.page = Math.min(Math.max(table.page, 0), pages - 1);
  const seen = picked.slice(table.page * PER_PAGE, (table.page + 1) * PER_PAGE);
  tableBox.querySelector("tbody").replaceChildren(...seen.map((row) => {
    const open = make("button", { type: "button", class: "open", onclick: () => openRow(row) }, row.isWarmup ? `${text("request.warmup")} ${row.idx}` : String(row.idx));
    const cells = COLUMNS.slice(1).map(([name]) => make("td", { class: typeof row[name] === "string" ? "text" : null },
      typeof row[name] === "string" ? row[name] : shown(row[name])));
    return make("tr", { class: row.failure ? "failed" : null }, make("th", { scope: "row" }, open), ...cells);
  }));
  const { total, kept: have } = run.own.requests;
  at("requests-count").textContent = text("requests.found", [shown(picked.length), shown(table.page + 1), shown(pages)]);
  at("requests-note").textContent = run.own.requests.kept < total ? text("requests.some", [shown(have), shown(total)]) : text("requests.all", [shown(total)]);
  for (const head of all("th[data-key]", tableBox)) {
    if (head.dataset.key === key) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
  at("requests-run").textContent = run.point.run;
};
const turn = (step) => { table.page += step; renewRows(); };
const buildTable = () => {
  const heads = COLUMNS.map(([key, label, unit]) => make("th", { scope: "col", "data-key": key }, make("button", { type: "button", onclick: () => {
    [table.sort, table.sign] = [key, table.sort === key ? -table.sign : 1];
    renewRows();
  } }, words(label), unit ? ` (${unit})` : null)));
  const filters = ["failed", "slow_ttft", "slow", "window"].map((name) => make("label", {}, make("input", { type: "checkbox", onchange: (event) => {
    if (event.target.checked) table.only.add(name); else table.only.delete(name);
    table.page = 0;
    renewRows();
  } }), " ", words("requests." + name)));
  const search = make("input", { type: "search", id: "requests-search", oninput: (event) => {
    [table.search, table.page] = [event.target.value.trim(), 0];
    renewRows();
  } });
  tableBox.append(make("div", { class: "filters" }, make("label", { for: "requests-search" }, words("requests.search")), search, ...filters),
    make("div", { class: "wide", tabindex: 0, role: "group", "aria-labelledby": "requests" }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody"))),
    make("p", { class: "filters" }, make("button", { type: "button", onclick: () => turn(-1) }, words("requests.back")),
      make("button", { type: "button", onclick: () => turn(1) }, words("requests.forward")), make("span", { id: "requests-count", role: "status" })));
};

// one request
const drawer = at("drawer");
const bars = (of, row) => {
  const [first, last] = [row.first_us ?? 0, Math.max(row.ended_us, 1)];
  const from = -row.due_us;
  const x = (us) => (us - from) / (last - from) * 560;
  const part = (start, end, top, tone) => make("path", { class: "s" + tone, fill: "none", "stroke-width": 12,
    d: `M${tenths(x(start))} ${top}H${tenths(Math.max(x(end), x(start) + 0.5))}` });
  const svg = make("svg", { class: "chart", viewBox: "0 0 560 60", width: 560, height: 60, role: "img", "aria-label": text("request.timeline") });
  if (row.due_us > 0) svg.append(part(from, 0, 12, 5));
  svg.append(part(0, row.sent_us ?? row.ended_us, 12, 4));
  if (row.sent_us !== null) svg.append(part(row.sent_us, row.first_us ?? row.ended_us, 12, 0));
  if (row.first_us !== null) svg.append(part(row.first_us, row.last_us ?? row.ended_us, 12, 2));
  const gaps = gapsOfRow(of, row);
  const most = Math.max(...gaps, 1);
  let now = first;
  let d = "";
  for (const gap of gaps) {
    d += `M${tenths(x(now + gap / 2))} 58v-${tenths(32 * gap / most)}`;
    now += gap;
  }
  if (d) svg.append(make("path", { class: "s1", fill: "none", "stroke-width": tenths(Math.max(Math.min(400 / gaps.length, 6), 1)), d }));
  return svg;
};
const openRow = (row) => {
  const ms = (us) => (us === null ? "–" : shown(us / 1e3));
  const moments = [["request.due", ms(-row.due_us)], ["request.connected", ms(row.connected_us)], ["request.sent", ms(row.sent_us)],
    ["request.first", ms(row.first_us)], ["request.last", ms(row.last_us)], ["request.ended", ms(row.ended_us)]];
  const gaps = gapsOfRow(run, row);
  const figures = [["request.at", shown(row.at_s) + " s"], ["series.ttft_ms", shown(row.ttft_ms) + " ms"], ["series.tpot_ms", shown(row.tpot_ms) + " ms"],
    ["series.latency_s", shown(row.latency_s) + " s"], ["request.input", shown(row.input)], ["request.cached", shown(row.cached)],
    ["request.output", shown(row.output)], ["request.events", shown(row.events)], ["request.reason", row.reason || "–"],
    ["request.failure", row.failure ? `${row.failure.kind}: ${row.failure.message}` : "–"], ["request.http", row.failure?.http_status ?? "–"], ["request.id", row.id || "–"],
    ["request.gaps", gaps.length ? text("request.gaps_are", [shown(gaps.length), shown(Math.max(...gaps) / 1e3)]) : text("request.no_gaps")]];
  const pairs = (list) => make("dl", {}, ...list.map(([key, value_]) => make("div", {}, make("dt", {}, words(key)), make("dd", {}, String(value_)))));
  const phase = row.isWarmup ? "warmup" : "measured";
  const query = `sqlite3 ${run.point.run}/benchmark_data.db "SELECT * FROM result WHERE phase = '${phase}' AND idx = ${row.idx}"`;
  drawer.replaceChildren(
    make("h2", { id: "drawer-name" }, `${run.point.run}: `, words("request.index"), ` ${row.idx}`),
    bars(run, row),
    make("p", { class: "quiet" }, words("request.parts")),
    make("h3", {}, words("request.moments")), pairs(moments),
    make("h3", {}, words("request.figures")), pairs(figures),
    make("pre", {}, query),
    make("p", { class: "filters" },
      row.id ? make("button", { type: "button", onclick: () => copy(row.id, "copied") }, words("request.copy_id")) : null,
      make("button", { type: "button", onclick: () => copy(query, "copied") }, words("button.copy")),
      make("button", { type: "button", onclick: () => drawer.close() }, words("request.close"))));
  if (!drawer.open) drawer.showModal();
  address(row);
};
drawer.addEventListener("close", () => address());

// lanes of the kept requests in the window, on a canvas: they are too many for a drawing
const lanes = (of) => {
  const figure = figureOf("r7", of);
  const svg = figure?.querySelector("svg.chart");
  if (!svg) return;
  let canvas = figure.querySelector("canvas");
  const limit = chosen.get(figure.id) ?? "";
  if (!of.window && limit === "") {
    canvas?.remove();
    svg.style.display = "";
    return;
  }
  const [from, to] = of.window ?? [panelsOf(of).find((one) => svg.contains(one.panel))].map((one) => [one.low, one.most])[0];
  const rows = rowsOf(of).filter((row) => row.lane !== null && row.end_s >= from && row.at_s <= to);
  if (!canvas) {
    canvas = make("canvas", { class: "lanes", role: "img", "aria-labelledby": svg.getAttribute("aria-labelledby") });
    svg.after(canvas);
  }
  svg.style.display = "none";
  const used = [...new Set(rows.map((row) => row.lane))].sort((a, b) => a - b);
  const [wide, each] = [600, used.length > 60 ? 6 : 12];
  const high = Math.max(used.length * each, each) + 24;
  const scale = 2;
  Object.assign(canvas, { width: wide * scale, height: high * scale });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const colours = getComputedStyle(svg);
  const colour = (name) => colours.getPropertyValue("--" + name);
  const x = (at_s) => Math.min(Math.max((at_s - from) / (to - from), 0), 1) * wide;
  const stallMs = limit === "" ? of.own.requests.stall_ms ?? Infinity : Number(limit);
  for (const row of rows) {
    const top = used.indexOf(row.lane) * each + 1;
    const bar = (startUs, endUs, fill) => {
      const [left, right] = [x(row.at_s + startUs / 1e6), x(row.at_s + endUs / 1e6)];
      pen.fillStyle = fill;
      pen.fillRect(left, top, Math.max(right - left, 0.5), each - 2);
    };
    const sent = row.sent_us ?? 0;
    bar(0, sent, colour("s5"));
    bar(sent, row.first_us ?? row.ended_us, colour("h3"));
    if (row.first_us !== null) bar(row.first_us, row.last_us ?? row.ended_us, colour("s2"));
    let now = row.first_us ?? 0;
    for (const gap of gapsOfRow(of, row)) {
      if (gap / 1e3 > stallMs) bar(now, now + gap, colour("s1"));
      now += gap;
    }
    if (row.failure) {
      pen.strokeStyle = colour("s1");
      pen.lineWidth = 1.6;
      const [cx, cy] = [x(row.end_s), top + each / 2 - 1];
      pen.beginPath();
      for (const sign of [-1, 1]) { pen.moveTo(cx - 4, cy - 4 * sign); pen.lineTo(cx + 4, cy + 4 * sign); }
      pen.stroke();
    }
  }
  pen.fillStyle = colour("ink");
  pen.font = "12px system-ui, sans-serif";
  pen.fillText(`${shown(from)} s`, 0, high - 6);
  pen.textAlign = "right";
  pen.fillText(`${shown(to)} s`, wide, high - 6);
};
zoomed.push(lanes, (of) => { if (of === run && table.only.has("window")) renewRows(); });
at("theme").addEventListener("click", () => runs.forEach(lanes));
for (const of of runs) {
  const figure = figureOf("r7", of);
  if (figure) {
    choice(figure, "choose.stall", [["", "choose.median"], ["25", "choose.25"], ["50", "choose.50"]], (limit) => {
      chosen.set(figure.id, limit);
      lanes(of);
    });
  }
}

// which run is seen, and which ones are compared
const checks = new Map();
const address = (row = null) => {
  const parts = new URLSearchParams({ run: run.point.run });
  if (row) parts.set("req", row.isWarmup ? "w" + row.idx : row.idx);
  try { history.replaceState(null, "", "#" + parts); } catch { /* a page that may not have an address */ }
};
const select = (of, { alone = true } = {}) => {
  run = of;
  together = alone ? [of] : [...together.filter((one) => one !== of), of].slice(-MOST_TOGETHER);
  for (const one of runs) {
    one.section.hidden = one !== of;
    if (checks.has(one)) checks.get(one).checked = together.includes(one);
  }
  compare();
  table.page = 0;
  renewRows();
};
const follow = () => {
  const hash = location.hash.slice(1);
  const byAnchor = runs.find((one) => one.section.id === hash);
  if (byAnchor) {
    select(byAnchor);
    byAnchor.section.scrollIntoView();
    return;
  }
  const parts = new URLSearchParams(hash);
  const wanted = runs.find((one) => one.point.run === parts.get("run"));
  if (!wanted) return;
  select(wanted);
  const idx = parts.get("req");
  const row = idx === null ? null : rowsOf(wanted).find((one) => (one.isWarmup ? "w" : "") + one.idx === idx);
  if (row) openRow(row);
};
if (runs.length > 0) {
  buildTable();
  for (const link of all("#sweep-section > .wide tbody th a")) {
    const of = runs.find((one) => "#" + one.section.id === link.getAttribute("href"));
    const check = make("input", { type: "checkbox", "aria-label": of.point.run, onchange: () => {
      if (check.checked) select(of, { alone: false });
      else if (together.length > 1) {
        together = together.filter((one) => one !== of);
        select(together.at(-1), { alone: false });
      } else check.checked = true;
      address();
    } });
    checks.set(of, check);
    link.before(check, " ");
  }
  addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey;
    const of = isTyping || !/^[1-9]$/.test(event.key) ? null : runs[Number(event.key) - 1];
    if (!of || runs.length === 1) return;
    select(of);
    address();
  });
  addEventListener("hashchange", follow);
  const first = runs.find((one) => String(one.own.point) === at("sweep-section")?.dataset.shown) ?? runs.at(-1);
  select(first);
  follow();
  at("requests-section").hidden = false;
  spoken.push(() => { compare(); renewRows(); if (drawer.open) drawer.close(); });
}
at("tools").hidden = false;
