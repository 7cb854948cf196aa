// The cursor, zoom, choices and downloads of charts, and which run is seen.
const data = JSON.parse(at("data").textContent, (_, one) => (typeof one === "string" ? visible(one) : one));
const unpacked = (packed) => {
  if (!packed) return [];
  const bytes = Uint8Array.from(atob(packed.values), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / 2 }, (_, nth) => {
    const number = view.getUint16(2 * nth, true);
    if (number < 2) return number === 0 ? null : 0;
    return packed.low * (packed.high / packed.low) ** ((number - 2) / 65533);
  });
};
// whole numbers of any size, 0 for a missing one
const varints = (encoded) => {
  const numbers = [];
  let [number, shift] = [0, 1];
  for (const letter of atob(encoded)) {
    const byte = letter.charCodeAt(0);
    number += (byte & 0x7f) * shift;
    if (byte & 0x80) shift *= 128;
    else { numbers.push(number); [number, shift] = [0, 1]; }
  }
  return numbers;
};
const unitOf = (metric) => (metric.endsWith("_ms") ? "ms" : "s");
const named = (metric) => `${text("series." + metric)} (${unitOf(metric)})`;

// a run that has details, with its part of the page and the window of time that is seen
const runs = data.runs.map((own) => {
  const section = at("run-" + (own.point + 1));
  const series = Object.fromEntries(Object.entries(own.series).map(([key, packed]) => [key, unpacked(packed)]));
  const startS = -own.warmup_bins * own.bin_s;
  // percentiles of some bins together are those of each of them
  for (const [metric, { bins_together: together, ...percentiles }] of Object.entries(own.percentiles)) {
    const before = Math.ceil(own.warmup_bins / together);
    const partOf = (bin) => before + Math.floor((bin - own.warmup_bins) / together);
    for (const [name, packed] of Object.entries(percentiles)) {
      const parts = unpacked(packed);
      series[`${metric}_${name}`] = Array.from({ length: own.bins }, (_, bin) => parts[partOf(bin)]);
    }
  }
  return { own, section, series, point: data.points[own.point], startS, endS: own.bounds.end_s, window: null, bin: null };
});
let run = runs[0];
const figureOf = (id, of = run) => at(`run-${of.own.point + 1}-${id}`);
const startOf = (of, bin) => of.startS + bin * of.own.bin_s;
const panelsOf = (of) => all(".panel[data-unit-s]", of.section).map((panel) => {
  const unitS = Number(panel.dataset.unitS);
  return { panel, unitS, low: panel.dataset.low * unitS, most: panel.dataset.high * unitS, ...frameOf(panel) };
});
// what of a panel's time is seen
const seenOf = (one, of) => (of.window && of.window[0] < one.most && of.window[1] > one.low ? of.window : [one.low, one.most]);

// the cursor
const METRICS = ["ttft_ms", "tpot_ms", "itl_ms", "latency_s"];
const SERIES = {
  r4: ["output_tok_per_s", "input_tok_per_s", "succeeded_per_s", "failed_per_s"],
  r5: ["in_flight_mean", "in_flight_max", "due_per_s"],
  r6: ["client_lag_ms_p99", "client_lag_ms_max", "dispatch_lag_ms_p99"],
  r7: ["in_flight_mean", "output_tok_per_s"],
};
const box = make("div", { id: "box", "aria-hidden": "true", hidden: true });
document.body.append(box);
const showBox = (lines, pageX, pageY) => {
  box.replaceChildren(...lines.map((line) => make("div", {}, line)));
  box.hidden = false;
  const isLeft = pageX > innerWidth / 2;
  box.style.left = isLeft ? "" : `${pageX + 14}px`;
  box.style.right = isLeft ? `${root.clientWidth - pageX + 14}px` : "";
  box.style.top = `${pageY + 14}px`;
};
const chosen = new Map();
const seriesOf = (figure, of) => {
  const id = figure.id.split("-").at(-1);
  if (SERIES[id]) return SERIES[id];
  const metric = chosen.get(figure.id);
  const metrics = metric ? [metric] : id === "r2" ? METRICS.slice(0, 1) : METRICS.slice(0, 2);
  const known = metrics.filter((one) => of.series[one + "_p50"]);
  return (known.length ? known : ["latency_s"]).flatMap((one) => ["p50", "p90", "p99"].map((part) => `${one}_${part}`));
};
const labelOf = (key) => {
  const metric = METRICS.find((one) => key.startsWith(one + "_p"));
  return metric ? [`${text("series." + metric)} ${key.slice(metric.length + 1)}`, unitOf(metric)] : [text("series." + key), ""];
};
let later = 0;
const pointAt = (figure, of, bin, pageX, pageY) => {
  of.bin = Math.min(Math.max(bin, 0), of.own.bins - 1);
  const [from, to] = [startOf(of, of.bin), Math.min(startOf(of, of.bin + 1), of.endS)];
  const middle = (from + to) / 2;
  for (const one of panelsOf(of)) {
    const [low, most] = seenOf(one, of);
    let line = one.panel.querySelector(":scope > .cursor");
    if (!line) {
      line = make("path", { class: "axis cursor", fill: "none", "stroke-dasharray": "2 2" });
      one.panel.append(line);
    }
    const isSeen = middle >= low && middle <= most;
    line.setAttribute("d", isSeen ? `M${tenths(one.left + (middle - low) / (most - low) * one.wide)} ${one.top}v${one.high}` : "");
  }
  const lines = seriesOf(figure, of).filter((key) => of.series[key]).map((key) => {
    const [label, unit] = labelOf(key);
    return `${label}: ${shown(of.series[key][of.bin])}${unit ? " " + unit : ""}`;
  });
  lines.unshift(`${shown(from)} – ${shown(to)} s`);
  showBox(lines, pageX, pageY);
  clearTimeout(later);
  later = setTimeout(() => { at("live").textContent = lines.join(", "); }, 300);
};
const leave = (of) => {
  box.hidden = true;
  clearTimeout(later);
  for (const line of all(".cursor", of.section)) line.remove();
};

// zoom: all charts of time of a run together
const zoomed = [];
const rescale = (of) => {
  for (const one of panelsOf(of)) {
    const [low, most] = seenOf(one, of);
    const whole = one.most - one.low;
    const [from, wide] = [(low - one.low) / whole * one.wide, (most - low) / whole * one.wide];
    one.plot.setAttribute("viewBox", `${from} 0 ${wide} ${one.high}`);
    one.panel.querySelector(":scope > .over").style.display = of.window ? "none" : "";
    const scale = scales.exact(low / one.unitS, most / one.unitS, 8);
    if (one.panel.querySelector(":scope > .x text")) ticksOf(one.panel, scale.ticks, scale.place);
  }
};
const zoom = (of, window) => {
  const width = window ? window[1] - window[0] : 0;
  const isAll = !window || width >= of.endS - of.startS;
  const least = Math.min(of.own.bin_s * 2, (of.endS - of.startS) / 4);
  if (window && !isAll) {
    const wide = Math.max(width, least);
    const from = Math.min(Math.max((window[0] + window[1] - wide) / 2, of.startS), of.endS - wide);
    of.window = [from, from + wide];
  } else of.window = null;
  rescale(of);
  leave(of);
  for (const follow of zoomed) follow(of);
  at("live").textContent = of.window ? text("zoomed", of.window.map(shown)) : text("zoomed_out");
};
const zoomBy = (of, factor) => {
  const [from, to] = of.window ?? [of.startS, of.endS];
  const middle = of.bin === null ? (from + to) / 2 : startOf(of, of.bin + 0.5);
  zoom(of, [middle - (middle - from) * factor, middle + (to - middle) * factor]);
};

// where in a chart a pointer is: its panel, and the moment
const moment = (svg, of, event) => {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const one = panelsOf(of).find(({ panel, left, top, wide, high }) => svg.contains(panel)
    && place.x >= left && place.x <= left + wide && place.y >= top - 4 && place.y <= top + high + 4);
  if (!one) return null;
  const [low, most] = seenOf(one, of);
  return { one, at: low + (place.x - one.left) / one.wide * (most - low), x: place.x };
};
const timed = (figure, of) => {
  const svg = figure.querySelector("svg.chart");
  if (!svg?.querySelector(".panel[data-unit-s]") || svg.dataset.timed) return;
  svg.dataset.timed = "1";
  svg.setAttribute("tabindex", "0");
  const binAt = (at_) => Math.floor((at_ - of.startS) / of.own.bin_s);
  let drag = null;
  svg.addEventListener("pointermove", (event) => {
    const here = moment(svg, of, event);
    if (!here) return leave(of);
    pointAt(figure, of, binAt(here.at), event.pageX, event.pageY);
    if (!drag || here.one.panel !== drag.one.panel) return;
    const [from, to] = [Math.min(drag.x, here.x), Math.max(drag.x, here.x)];
    for (const [key, value] of Object.entries({ x: from, width: to - from })) drag.mark.setAttribute(key, value);
    drag.to = here.at;
  });
  svg.addEventListener("pointerleave", () => { if (!drag) leave(of); });
  svg.addEventListener("pointerdown", (event) => {
    const here = event.pointerType === "touch" || event.target.closest(".key") ? null : moment(svg, of, event);
    if (!here) return;
    const mark = make("rect", { class: "f0", x: here.x, y: here.one.top, width: 0, height: here.one.high, "fill-opacity": 0.15 });
    here.one.panel.append(mark);
    drag = { ...here, to: here.at, mark };
    svg.setPointerCapture(event.pointerId);
  });
  const drop = () => {
    if (!drag) return;
    const { at: from, to, mark } = drag;
    drag = null;
    const isWide = Number(mark.getAttribute("width")) > 5;
    mark.remove();
    if (isWide) zoom(of, [Math.min(from, to), Math.max(from, to)]);
  };
  svg.addEventListener("pointerup", drop);
  svg.addEventListener("pointercancel", drop);
  svg.addEventListener("dblclick", () => zoom(of, null));
  svg.addEventListener("keydown", (event) => {
    const [from, to] = of.window ?? [of.startS, of.endS];
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const [first, last] = [binAt(from), Math.min(binAt(to - 1e-9), of.own.bins - 1)];
    const moved = steps ? (of.bin ?? first - 1) + steps * (event.shiftKey ? 10 : 1)
      : { Home: first, End: last }[event.key];
    if (moved !== undefined) {
      const place = svg.getBoundingClientRect();
      const bin = Math.min(Math.max(moved, first), last);
      const share = (startOf(of, bin) - from) / (to - from);
      pointAt(figure, of, bin, scrollX + place.left + place.width * share, scrollY + place.top + 40);
      event.preventDefault();
    } else if (event.key === "Escape") zoom(of, null);
    else if (event.key === "]") zoomBy(of, 0.5);
    else if (event.key === "[") zoomBy(of, 2);
  });
  svg.addEventListener("blur", () => leave(of));
};

// entries of legends hide what they name
const toggles = (svg) => {
  for (const key of all(".key", svg)) {
    svg.setAttribute("role", "group");
    const panel = key.closest(".panel");
    const nameOf = (one) => [...one.classList].find((name) => /^m\d+$/.test(name));
    const show = (one, isShown) => {
      one.setAttribute("aria-pressed", isShown);
      for (const mark of all(`.${nameOf(one)}:not(.key)`, panel)) mark.style.display = isShown ? "" : "none";
    };
    for (const [name, value] of Object.entries({ role: "button", tabindex: 0, "aria-pressed": "true" })) key.setAttribute(name, value);
    const press = (alone) => {
      if (!alone) return show(key, key.getAttribute("aria-pressed") !== "true");
      const others = all(".key", panel).filter((one) => one !== key);
      const wasAlone = others.every((one) => one.getAttribute("aria-pressed") === "false");
      for (const one of others) show(one, wasAlone);
      show(key, true);
    };
    key.addEventListener("click", (event) => press(event.altKey));
    key.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      press(event.altKey);
    });
  }
};

// choices: the drawing of the page for the first one, another drawing for others
const place = (figure, svg, title = "") => {
  figure.querySelector("svg.chart").replaceWith(svg);
  const isOwn = svg === figure.own;
  for (const part of all("figcaption > span, :scope > details", figure)) part.hidden = !isOwn;
  figure.querySelector("figcaption > .other")?.remove();
  figure.querySelector("figcaption > strong").hidden = title !== "";
  if (title) figure.querySelector("figcaption").prepend(make("strong", { class: "other" }, title));
  if (!isOwn) toggles(svg);
  const of = runs.find((one) => one.section.contains(figure));
  if (of) {
    timed(figure, of);
    rescale(of);
  }
};
const choice = (figure, label, options, choose, first = 0) => {
  const bar = figure.querySelector(".choices");
  const select = make("select", { onchange: () => choose(select.value) },
    ...options.map(([key, name], nth) => make("option", { value: key, selected: nth === first, "data-t": name, "data-with": null }, text(name))));
  bar.prepend(make("label", {}, words(label), " ", select));
  return select;
};
const timeAxis = (of) => {
  const unitS = of.endS > 5 * 3600 ? 3600 : of.endS > 300 ? 60 : 1;
  const unit = { 1: "s", 60: "min", 3600: "h" }[unitS];
  return { scale: scales.exact(of.startS / unitS, of.endS / unitS, 8), label: text("axis_time", [unit]), unitS };
};
const overTime = (of, metric) => {
  const axis = timeAxis(of);
  return ["p50", "p90", "p99"].map((part, nth) => ({
    name: part, tone: [0, 2, 1][nth], dash: [null, "5 3", "9 4"][nth],
    points: of.series[`${metric}_${part}`].map((value, bin) => [startOf(of, bin + 0.5) / axis.unitS, value]),
  }));
};
const percentilesOf = (of, metric) => {
  const lines = overTime(of, metric);
  const most = Math.max(...lines.flatMap((line) => line.points.map(([, value]) => value ?? 0)));
  return drawn({ title: named(metric), x: timeAxis(of), y: { scale: scales.linear(0, most, 4), label: named(metric) }, lines });
};
const heatOf = (of, metric) => {
  const map = of.own.heatmaps[metric];
  const axis = timeAxis(of);
  const bytes = [...atob(map.classes)].map((letter) => letter.charCodeAt(0));
  const edge = (row) => map.low * (map.high / map.low) ** (row / map.rows);
  const columnAt = (column) => Math.min(startOf(of, column * map.bins_per_column), of.endS) / axis.unitS;
  const cells = [];
  let [row, column] = [0, 0];
  for (const byte of bytes) {
    const length = Math.floor(byte / 9) + 1;
    if (byte % 9 > 0) cells.push({ tone: byte % 9 - 1, from: columnAt(column), to: columnAt(column + length), low: edge(row), high: edge(row + 1) });
    column += length;
    if (column >= map.columns) [row, column] = [row + 1, 0];
  }
  const lines = overTime(of, metric).filter((line) => line.name !== "p90");
  return drawn({ title: named(metric), x: axis, y: { scale: scales.log(map.low, map.high), label: named(metric) }, cells, lines });
};

// several runs in one chart
const MOST_TOGETHER = 6;
let together = [];
const DASHES = [null, "9 4", "5 3", "8 3 2 3", "2 3", "12 3"];
const curvesOf = (metric) => {
  const lines = together.filter((one) => one.own.curves[metric]).map((one, nth) => {
    const curve = one.own.curves[metric];
    const values = unpacked(curve.values);
    const share = (step) => 1 - 10 ** (-curve.last_nines * step / (values.length - 1));
    return { name: one.point.run, tone: nth, dash: DASHES[nth], points: values.map((value, step) => [share(step), value > 0 ? value : null]) };
  });
  const values = lines.flatMap((line) => line.points.map(([, value]) => value)).filter((value) => value !== null);
  const last = Math.max(...lines.map((line) => line.points.at(-1)[0]));
  const x = scales.nines(0, last);
  return values.length === 0 ? null : drawn({ title: named(metric), lines, x: { scale: x, label: text("axis_percentile"),
    ticks: x.ticks.map((share) => String(Math.round(share * 1e7) / 1e5)) },
  y: { scale: scales.log(Math.min(...values), Math.max(...values)), label: named(metric) } });
};
const gapsOf = () => {
  const lines = together.filter((one) => one.own.gap_bins).map((one, nth) => {
    const { edges_ms: edges, counts } = one.own.gap_bins;
    const most = counts.reduce((sum, count) => sum + count, 0) / 100;
    const first = edges[0] > 0 ? edges[0] : edges[1] / 2;
    const points = counts.flatMap((count, bin) => [[Math.max(edges[bin], first), count / most], [edges[bin + 1], count / most]]);
    return { name: one.point.run, tone: nth, dash: DASHES[nth], points };
  });
  const [lows, highs] = [lines.map((line) => line.points[0][0]), lines.map((line) => line.points.at(-1)[0])];
  const most = Math.max(...lines.flatMap((line) => line.points.map(([, share]) => share)));
  return lines.length === 0 ? null : drawn({ title: text("series.itl_ms"), lines,
    x: { scale: scales.log(Math.min(...lows), Math.max(...highs)), label: text("axis_gap") },
    y: { scale: scales.linear(0, most, 4), label: text("axis_share") } });
};
const compare = () => {
  for (const [id, draw] of [["r1", () => curvesOf(chosen.get("together") ?? "ttft_ms")], ["r9", gapsOf]]) {
    const figure = figureOf(id);
    if (!figure?.own) continue;
    const another = together.length > 1 ? draw() : null;
    place(figure, another ?? figure.own);
    const select = figure.querySelector(".choices label");
    if (id === "r1" && select) select.hidden = together.length < 2;
  }
};

// taking a chart away: as it looks now
const standalone = (svg) => {
  const copied = svg.cloneNode(true);
  const [from, to] = [all("*", svg), all("*", copied)];
  from.forEach((one, nth) => {
    const style = getComputedStyle(one);
    for (const name of ["fill", "stroke", "display"]) if (style[name] !== "") to[nth].setAttribute(name, style[name]);
    for (const name of ["class", "style", "tabindex"]) to[nth].removeAttribute(name);
  });
  copied.prepend(make("rect", { width: "100%", height: "100%", fill: getComputedStyle(document.body).backgroundColor }));
  copied.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copied);
};
const save = (name, blob) => {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};
const csv = (figure) => all("table tr", figure).map((row) => [...row.cells].map((cell) => {
  const words_ = cell.textContent.trim();
  // a formula is a text in spreadsheets, too
  const safe = /^[=+@\t]/.test(words_) ? "'" + words_ : words_;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll("\"", "\"\"")}"` : safe;
}).join(",")).join("\n") + "\n";
const takeAway = (figure) => {
  const svg = () => figure.querySelector("svg.chart");
  const asPng = () => {
    const image = new Image();
    const [width, height] = svg().getAttribute("viewBox").split(" ").slice(2).map(Number);
    image.onload = () => {
      const canvas = make("canvas", { width: width * 2, height: height * 2 });
      canvas.getContext("2d").drawImage(image, 0, 0, width * 2, height * 2);
      canvas.toBlob((blob) => save(figure.id + ".png", blob));
    };
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(standalone(svg()));
  };
  const button = (name, act) => make("button", { type: "button", onclick: act, "aria-label": `${figure.querySelector("strong").textContent}: ${name}` }, name);
  return [button("SVG", () => save(figure.id + ".svg", new Blob([standalone(svg())], { type: "image/svg+xml" }))),
    button("PNG", asPng),
    figure.querySelector("table") && button("CSV", () => save(figure.id + ".csv", new Blob([csv(figure)], { type: "text/csv" })))];
};

for (const figure of all("figure")) {
  figure.own = figure.querySelector("svg.chart");
  figure.querySelector("figcaption").after(make("div", { class: "choices" }, ...takeAway(figure)));
  toggles(figure.own);
}
for (const of of runs) {
  for (const figure of all("figure", of.section)) timed(figure, of);
  const known = METRICS.filter((metric) => of.series[metric + "_p50"]).map((metric) => [metric, "series." + metric]);
  const drawnFirst = of.series.ttft_ms_p50 ? "ttft_ms" : "latency_s";
  const heat = known.filter(([metric]) => of.own.heatmaps[metric] || metric === drawnFirst)
    .map(([metric, name]) => [metric === drawnFirst ? "" : metric, name]);
  const change = (figure, draw) => (metric) => {
    chosen.set(figure.id, metric);
    const title = figure.id.endsWith("r2") ? text("over_time", [text("series." + metric)]) : "";
    if (metric === "") place(figure, figure.own);
    else place(figure, draw(of, metric), title);
  };
  const [r1, r2, r3] = ["r1", "r2", "r3"].map((id) => figureOf(id, of));
  if (r2 && heat.length > 1) choice(r2, "choose.metric", heat, change(r2, heatOf), heat.findIndex(([metric]) => metric === ""));
  if (r3 && known.length > 1) choice(r3, "choose.metric", [["", "choose.both"], ...known], change(r3, percentilesOf));
  if (r1 && runs.length > 1) {
    const curves = [...METRICS, "latency_from_schedule_s"].filter((metric) => of.own.curves[metric]);
    choice(r1, "choose.metric", curves.map((metric) => [metric, "series." + metric]), (metric) => {
      chosen.set("together", metric);
      compare();
    });
  }
}
