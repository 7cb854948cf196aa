// Draws a chart for a choice that the page does not hold as a drawing: lines, points and cells over the axes that
// the drawings of the page have, in the same colours.
const WIDTH = 600;
const numberAt = (tick) => {
  const size = Math.abs(tick);
  const [scaledTo, unit] = size >= 1e9 ? [tick / 1e9, "G"] : size >= 1e6 ? [tick / 1e6, "M"] : size >= 1e5 ? [tick / 1e3, "k"] : [tick, ""];
  return String(Number(scaledTo.toPrecision(4))).replace("-", "−") + unit;
};
const tenths = (place) => String(Math.round(place * 10) / 10);

// [{name, tone, dash, points: [[x, y or null]], marked}] as paths, with gaps
const linePath = (points, x, y) => {
  let d = "";
  let isOn = false;
  points.forEach(([px, py], nth) => {
    if (py === null || py === undefined || !Number.isFinite(py)) { isOn = false; return; }
    d += (isOn ? "L" : "M") + tenths(x(px)) + " " + tenths(y(py));
    const next = points[nth + 1];
    if (!isOn && (!next || next[1] === null)) d += "h0";
    isOn = true;
  });
  return d;
};

// {title, x: {scale, label, unitS, ticks}, y: {scale, label}, lines, cells, names} as an <svg>
const drawn = ({ title, x, y, lines = [], cells = [], names = [] }) => {
  const legend = lines.filter((one) => one.name);
  const frame = { left: 56, top: 12, width: WIDTH - 56 - 18, height: 230 };
  const svg = make("svg", { class: "chart", role: "group", "aria-label": title, "font-family": "system-ui, sans-serif", "font-size": 12 });
  const panel = make("g", { class: "panel", "data-low": x.scale.low, "data-high": x.scale.high, "data-unit-s": x.unitS });
  const write = (classes, left, base, anchor, words) =>
    make("text", { class: classes, x: tenths(left), y: tenths(base), "text-anchor": anchor }, words);
  // the label of the axis, then what each line is
  let [left, row] = [12, 0];
  panel.append(write("muted", left, 14, null, y.label));
  left += y.label.length * 6.8 + 14;
  legend.forEach((one) => {
    const wide = 27 + one.name.length * 6.8;
    if (left + wide > WIDTH - 12) [left, row] = [12, row + 1];
    const base = 14 + 19 * row;
    const key = make("g", { class: "key m" + lines.indexOf(one) },
      make("path", { class: "s" + one.tone, d: `M${tenths(left)} ${base - 4}h22`, fill: "none", "stroke-width": 1.8, "stroke-dasharray": one.dash }),
      write("ink", left + 27, base, null, one.name));
    panel.append(key);
    left += wide + 12;
  });
  frame.top += 19 * (row + 1);
  const [placeX, placeY] = [(value) => x.scale.place(value) * frame.width, (value) => (1 - y.scale.place(value)) * frame.height];
  const plot = make("svg", { class: "plot", x: frame.left, y: frame.top, width: frame.width, height: frame.height,
    viewBox: `0 0 ${frame.width} ${frame.height}`, preserveAspectRatio: "none" });
  plot.append(make("path", { class: "grid", fill: "none", "vector-effect": "non-scaling-stroke",
    d: y.scale.ticks.map((tick) => `M0 ${tenths(placeY(tick))}h${frame.width}`).join("") }));
  for (const { tone, from, to, low, high } of cells) {
    const [top, bottom] = [placeY(high), placeY(low)];
    plot.append(make("path", { class: "k" + tone, fill: "none", "stroke-width": tenths(bottom - top + 0.1),
      d: `M${tenths(placeX(from))} ${tenths((top + bottom) / 2)}H${tenths(placeX(to))}` }));
  }
  lines.forEach((one, nth) => {
    const group = make("g", { class: "m" + nth }, make("path", { class: "s" + one.tone, d: linePath(one.points, placeX, placeY),
      fill: "none", "stroke-width": 1.8, "stroke-dasharray": one.dash, "stroke-linejoin": "round", "vector-effect": "non-scaling-stroke" }));
    plot.append(group);
  });
  panel.append(plot);
  // the points of a sweep, with their names
  const over = make("g", { class: "over" });
  for (const { at: [px, py], name, hollow, crossed, ringed } of names) {
    const [cx, cy] = [frame.left + placeX(px), frame.top + placeY(py)];
    over.append(make("circle", { class: hollow ? "s0 paper" : "f0", cx: tenths(cx), cy: tenths(cy), r: 3.5, "stroke-width": 1.6 }));
    if (ringed) over.append(make("circle", { class: "axis", cx: tenths(cx), cy: tenths(cy), r: 8, fill: "none", "stroke-width": 1.6 }));
    if (crossed) over.append(make("path", { class: "s0", d: `M${tenths(cx)} ${tenths(cy)}m-4.5-4.5l9 9m0-9l-9 9`, fill: "none", "stroke-width": 1.6 }));
    const isRight = cx > frame.left + frame.width - 60;
    over.append(write("ink", cx + (isRight ? -8 : 8), cy - 6, isRight ? "end" : "start", name));
  }
  panel.append(over);
  const bottom = frame.top + frame.height;
  panel.append(make("path", { class: "axis", fill: "none", d: `M${frame.left} ${frame.top}V${bottom}H${frame.left + frame.width}` }));
  panel.append(make("g", { class: "x" }));
  for (const tick of y.scale.ticks) panel.append(write("muted", frame.left - 5, frame.top + placeY(tick) + 4, "end", numberAt(tick)));
  panel.append(write("muted", frame.left + frame.width / 2, bottom + 34, "middle", x.label));
  svg.append(panel);
  const height = bottom + 42;
  for (const [key, value] of Object.entries({ viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height })) svg.setAttribute(key, value);
  ticksOf(panel, x.scale.ticks, x.scale.place, x.ticks);
  return svg;
};

// where a panel's plot is
const frameOf = (panel) => {
  const plot = panel.querySelector(".plot");
  const [left, top, wide, high] = ["x", "y", "width", "height"].map((name) => Number(plot.getAttribute(name)));
  return { plot, left, top, wide, high };
};

// the ticks of a panel's x axis anew: for its whole axis, or for a part of it
const ticksOf = (panel, ticks, place, labels) => {
  const { left, top, wide, high } = frameOf(panel);
  const group = panel.querySelector(":scope > .x");
  const texts_ = make("g", { class: "muted", "text-anchor": "middle" });
  let d = "";
  let last = -99;
  ticks.forEach((tick, nth) => {
    const x = left + place(tick) * wide;
    d += `M${tenths(x)} ${top + high}v4`;
    const label = labels ? labels[nth] : numberAt(tick);
    const half = label.length * 3.4;
    if (x - half < last + 4 || x + half > WIDTH) return;
    last = x + half;
    texts_.append(make("text", { x: tenths(x), y: tenths(top + high + 17) }, label));
  });
  group.replaceChildren(texts_, make("path", { class: "axis", fill: "none", d }));
};
