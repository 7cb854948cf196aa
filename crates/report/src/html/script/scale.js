// Round values for ticks, by the same rules as scale.rs; scale-cases.json holds both to them.
const roundValues = (low, high, want, outside) => {
  const rough = (high - low) / Math.max(want, 1);
  let exponent = Math.floor(Math.log10(rough));
  let lead = rough / 10 ** exponent;
  if (lead < 1.5) lead = 1;
  else if (lead < 3.5) lead = 2;
  else if (lead < 7.5) lead = 5;
  else [lead, exponent] = [1, exponent + 1];
  const step = lead * 10 ** exponent;
  // a millionth of a step is rounding
  const [down, up] = outside ? [Math.floor, Math.ceil] : [Math.ceil, Math.floor];
  const sign = outside ? 1e-6 : -1e-6;
  const ticks = [];
  for (let nth = down(low / step + sign); nth <= up(high / step - sign); nth += 1) {
    ticks.push((exponent < 0 ? nth * lead / 10 ** -exponent : nth * lead * 10 ** exponent) + 0);
  }
  return ticks;
};
const powers = (low, high, leads) => {
  const every = [];
  for (let exponent = Math.floor(Math.log10(low)) - 1; exponent <= Math.ceil(Math.log10(high)) + 1; exponent += 1) {
    for (const lead of leads) every.push(exponent < 0 ? lead / 10 ** -exponent : lead * 10 ** exponent);
  }
  const first = every.findLastIndex((tick) => tick <= low * (1 + 1e-9));
  const last = every.findIndex((tick) => tick >= high * (1 - 1e-9));
  return every.slice(Math.max(first, 0), last < 0 ? undefined : last + 1);
};
const apart = (low, high) => {
  if (high - low > Math.max(Math.abs(low), Math.abs(high)) * 1e-9) return [low, high];
  return low === 0 ? [0, 1] : [Math.min(low, 0), Math.max(low + Math.abs(low), 0)];
};
// a scale: its ends, its ticks, and where a value is between the ends, from 0 to 1
const scaled = (ticks, low, high, stretch) => {
  const [from, to] = [stretch(low), stretch(high)];
  const place = (value) => (stretch(Math.min(Math.max(value, low), high)) - from) / (to - from);
  return { ticks, low, high, place };
};
const scales = {
  exact(low, high, want) {
    [low, high] = apart(low, high);
    return scaled(roundValues(low, high, want, false), low, high, (value) => value);
  },
  linear(low, high, want) {
    [low, high] = apart(low, high);
    const ticks = roundValues(low, high, want, true);
    return scaled(ticks, Math.min(low, ticks[0]), Math.max(high, ticks.at(-1)), (value) => value);
  },
  log(low, high) {
    if (high / low < 1.01) [low, high] = [low / 1.1, high * 1.1];
    const decades = Math.log10(high / low);
    const ticks = decades > 4 ? powers(low, high, [1]) : decades > 0.8 ? powers(low, high, [1, 2, 5])
      : roundValues(low, high, 4, true).filter((tick) => tick > 0);
    return scaled(ticks, Math.min(low, ticks[0]), Math.max(high, ticks.at(-1)), Math.log10);
  },
  nines(low, high) {
    const cut = Math.min(Math.max(high, 0.5), 0.999999);
    const ticks = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].filter((share) => share <= cut);
    return scaled(ticks, 0, cut, (share) => -Math.log10(1 - Math.min(share, 0.9999999)));
  },
};
