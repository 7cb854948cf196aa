// The charts of a sweep: other choices of throughput and latency, and what a point is.
const s1 = at("sweep-s1");
const different = (values) => new Set(values).size;
const byRate = different(data.points.map((one) => one.rate_per_s)) > different(data.points.map((one) => one.concurrency));
const loadOf = (point) => (byRate ? point.rate_per_s : point.concurrency);
const STATS = ["mean", "p50", "p90", "p95", "p99"];
const RATES = ["output_tok_per_s", "requests_per_s", "total_tok_per_s", "user_tok_per_s"];
if (s1) {
  const known = (values) => values.some((value) => value !== null && value !== undefined);
  const rates = RATES.filter((key) => known(data.points.map((one) => one[key])));
  const metrics = [...METRICS, "latency_from_schedule_s"].filter((key) => known(data.points.map((one) => one.metrics[key])));
  const knee = s1.dataset.knee;
  const want = { rate: rates[0], metric: metrics[0], stat: "p99" };
  const standard = { ...want };
  s1.want = want;
  const redraw = () => {
    if (Object.keys(want).every((key) => want[key] === standard[key])) return place(s1, s1.own);
    const points = data.points.map((point, nth) => ({ point, nth, x: point[want.rate], y: point.metrics[want.metric]?.[STATS.indexOf(want.stat)] }))
      .filter(({ x, y, point }) => Number.isFinite(x) && Number.isFinite(y) && loadOf(point) !== null)
      .sort((a, b) => loadOf(a.point) - loadOf(b.point));
    const isDominated = (own) => points.some((other) => other.x >= own.x && other.y <= own.y && (other.x > own.x || other.y < own.y));
    const label = `${text("series." + want.metric)} ${want.stat} (${unitOf(want.metric)})`;
    place(s1, drawn({
      title: label,
      x: { scale: scales.linear(0, Math.max(...points.map(({ x }) => x)), 6), label: text("series." + want.rate) },
      y: { scale: scales.linear(0, Math.max(...points.map(({ y }) => y)), 5), label },
      lines: [{ name: "", tone: 5, dash: null, points: points.map(({ x, y }) => [x, y]) }],
      names: points.map((own) => ({ at: [own.x, own.y], name: String(loadOf(own.point)), hollow: isDominated(own),
        crossed: own.point.client_limited, ringed: String(own.nth) === knee })),
    }));
  };
  const pick = (key, options, first = 0) => choice(s1, "choose." + key, options, (value_) => { want[key] = value_; redraw(); }, first);
  pick("stat", STATS.map((stat) => [stat, "stat." + stat]), 4);
  pick("metric", metrics.map((metric) => [metric, "series." + metric]));
  pick("rate", rates.map((rate) => [rate, "series." + rate]));
  spoken.push(redraw);
}

// which run is near the pointer, with its figures
for (const figure of all("#sweep-section figure")) {
  const hide = () => { box.hidden = true; };
  figure.addEventListener("pointermove", (event) => {
    const svg = event.target.closest("svg.chart");
    if (!svg) return hide();
    const here = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const panel = all(".panel", svg).find((one) => {
      const { left, top, wide, high } = frameOf(one);
      return here.x > left - 10 && here.x < left + wide + 10 && here.y > top - 10 && here.y < top + high + 10;
    });
    if (!panel) return hide();
    const { left, wide } = frameOf(panel);
    const [low, high] = [Number(panel.dataset.low), Number(panel.dataset.high)];
    const isCurve = figure === s1;
    const measure = (point) => (isCurve ? point[s1.want.rate] : loadOf(point));
    const isLog = !isCurve && low > 0 && high / low > 8;
    const where = (value_) => (isLog ? Math.log(value_ / low) / Math.log(high / low) : (value_ - low) / (high - low));
    const away = (point) => Math.abs(where(measure(point)) - (here.x - left) / wide);
    const near = data.points.filter((point) => Number.isFinite(measure(point))).reduce((a, b) => (away(b) < away(a) ? b : a));
    showBox([near.run,
      ...RATES.filter((key) => near[key] !== null).map((key) => `${text("series." + key)}: ${shown(near[key])}`),
      ...Object.entries(near.metrics).map(([key, values]) => `${text("series." + key)} p50 / p99: ${shown(values[1])} / ${shown(values[4])} ${unitOf(key)}`)],
    event.pageX, event.pageY);
  });
  figure.addEventListener("pointerleave", hide);
}
