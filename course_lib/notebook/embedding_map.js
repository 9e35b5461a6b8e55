// The embedding explorer: images as points, placed by their features. Data in, picture out: no library, no network.
// In any page: draw(element, data). In a notebook, anywidget calls render. embedding_map.py describes `data`; its
// arrays are bytes, or the same bytes as base64 text.

// pixels from which a point is hovered or picked; random groups that a group is compared with; thumbnails of a group
const REACH = 14, DRAWS = 40, SHOWN = 24;
const MARGIN = 14, GREY = "#999999", SAME = "2px solid #0072B2", OTHER = "2px dashed #E69F00";
const TURN = 2 * Math.PI, KEYS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Escape: 0 };

export default {
  render: ({ model, el }) =>
    draw(el, model.get("data"), state => { model.set("state", state); model.save_changes(); }).remove,
};

function array(Type, source) {
  if (typeof source === "string") source = Uint8Array.from(atob(source), c => c.charCodeAt(0));
  return new Type(source.buffer.slice(source.byteOffset, source.byteOffset + source.byteLength));
}

function tag(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

const percent = part => `${Math.round(100 * part)} %`;
const outline = places => new Path2D(`M${places.map(place => place.join(" ")).join("L")}Z`);
const short = x => Number.isInteger(x) ? String(x) : x.toFixed(2);

// How mixed a cause is in a group: 1 - share of the commonest, standard deviation, or 1 - length of the mean direction.
function spread(cause, members) {
  const values = members.map(i => cause.values[i]).filter(v => !isNaN(v)), n = values.length;
  const mean = f => values.reduce((sum, v) => sum + f(v), 0) / n;
  if (cause.kind === "category") {
    const counts = cause.names.map(() => 0);
    for (const v of values) counts[v] += 1;
    const centre = counts.indexOf(Math.max(...counts));
    return { n, centre, mixed: 1 - counts[centre] / n, share: code => counts[code] / n };
  }
  const centre = mean(v => v);
  if (cause.kind === "number") return { n, centre, mixed: Math.sqrt(mean(v => (v - centre) ** 2)) };
  const [cos, sin] = [mean(v => Math.cos(TURN * v)), mean(v => Math.sin(TURN * v))];
  return { n, centre: (Math.atan2(sin, cos) / TURN + 1) % 1, mixed: 1 - Math.hypot(cos, sin) };
}

// How much a group agrees in a cause, 0 if it is as mixed as all images, 1 if all are alike; and the same in words.
function agreement(cause, members) {
  const { n, mixed, centre } = spread(cause, members), all = cause.all;
  if (n < 2 || !(all.mixed > 1e-6)) return { value: 0, says: n < 2 ? "not known of them" : "the same in all images" };
  const says = cause.kind === "category"
    ? `${percent(1 - mixed)} ${cause.names[centre]} (of all images ${percent(all.share(centre))})`
    : `around ${short(centre)}` + (cause.kind === "number" ? `, spread ${percent(mixed / all.mixed)} of all` : "");
  return { value: Math.max(0, 1 - mixed / all.mixed), says };
}

function randomGroups(n, count, seed = 1) {
  const next = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Array.from({ length: DRAWS }, () => Array.from({ length: n }, () => Math.floor(next() * count)));
}

class Plane {
  constructor(network, count) {
    Object.assign(this, { network, count, last: network.steps.length - 1 });
    this.points = array(Uint16Array, network.points);          // (checkpoints, images, 2)
    this.nearest = array(Uint16Array, network.neighbours);     // (checkpoints, images, k)
    this.k = this.nearest.length / network.steps.length / count;
    [this.x, this.y] = [new Float32Array(count), new Float32Array(count)];
    this.under = tag("canvas", {});
    this.over = tag("canvas", { tabIndex: 0, role: "application",
      ariaLabel: `Map of ${count} images, ${network.name}. Arrow keys go through the images, Escape clears.` });
    this.caption = tag("figcaption", { className: "quiet" });
    this.box = tag("div", { className: "plane" }, this.under, this.over);
    this.figure = tag("figure", {}, this.caption, this.box);
  }

  near(i, part) {
    const start = (Math.round(part * this.last) * this.count + i) * this.k;
    return [...this.nearest.subarray(start, start + this.k)];
  }

  resize() {
    [this.width, this.height, this.dpr] = [this.box.clientWidth, this.box.clientHeight, window.devicePixelRatio || 1];
    for (const canvas of [this.under, this.over])
      [canvas.width, canvas.height] = [this.width, this.height].map(side => Math.max(1, Math.round(side * this.dpr)));
    this.image = new ImageData(this.under.width, this.under.height);
  }

  move(part) {  // to a part of the way from the first checkpoint to the last
    const at = part * this.last, f = at % 1, { points, count } = this, { name, steps, kept, extent } = this.network;
    const a = 2 * count * Math.floor(at), b = 2 * count * Math.ceil(at), near = Math.round(at);
    const unit = this.unit = Math.min(...extent.map((most, i) => ([this.width, this.height][i] - 2 * MARGIN) / most));
    const left = (this.width - unit * extent[0]) / 2, top = (this.height - unit * extent[1]) / 2;
    for (let i = 0; i < count; i++) {
      this.x[i] = left + unit * ((1 - f) * points[a + 2 * i] + f * points[b + 2 * i]);
      this.y[i] = top + unit * ((1 - f) * points[a + 2 * i + 1] + f * points[b + 2 * i + 1]);
    }
    this.caption.textContent = [name, steps[near] !== null && `step ${steps[near]}`,
      kept && `the map keeps ${percent(kept[near])} of the spread`].filter(Boolean).join(" · ");
  }

  paint(codes, stamps, strong) {  // the images `strong` come last, the others are faint; none: all are strong
    const pixels = new Uint32Array(this.image.data.buffer), { size, pictures } = stamps, none = pictures.length / 2 - 1;
    const stamp = (i, faint) => {  // pixel by pixel, as drawImage takes ten times as long
      const picture = pictures[2 * (codes[i] < 0 ? none : codes[i] % none) + faint];
      const x = Math.round(this.x[i] * this.dpr - size / 2), y = Math.round(this.y[i] * this.dpr - size / 2);
      for (let row = 0, from = 0; row < size; row++)
        for (let to = (y + row) * this.image.width + x, end = to + size; to < end; to++, from++)
          if (picture[from] >>> 24 >= pixels[to] >>> 24) pixels[to] = picture[from];  // the top byte is the opacity
    };
    pixels.fill(0);
    for (let i = 0; i < this.count; i++) stamp(i, strong.length ? 1 : 0);
    for (const i of strong) stamp(i, 0);
    this.under.getContext("2d").putImageData(this.image, 0, 0);
  }

  mark(colour, hover, picked, near, lasso) {
    const context = this.over.getContext("2d"), ring = (i, radius, width) => {
      context.lineWidth = width;
      context.beginPath();
      context.arc(this.x[i], this.y[i], radius, 0, TURN);
      context.stroke();
    };
    context.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.strokeStyle = colour;
    if (hover !== null) ring(hover, 7, 1.5);
    if (picked !== null) ring(picked, 9, 3);
    for (const j of near) ring(j, 6, 2);
    context.lineWidth = 0.7;
    for (const j of near) context.stroke(outline([[this.x[picked], this.y[picked]], [this.x[j], this.y[j]]]));
    if (lasso.length) context.stroke(outline(lasso));
  }

  find(x, y) {  // the image at a place, or null
    const far = i => Math.hypot(this.x[i] - x, this.y[i] - y);
    const best = this.x.reduce((best, _, i) => far(i) < far(best) ? i : best, 0);
    return far(best) < REACH ? best : null;
  }

  inside(path) {
    const area = outline(path), context = this.under.getContext("2d");
    return [...this.x.keys()].filter(i => context.isPointInPath(area, this.x[i], this.y[i], "evenodd"));
  }
}

// Draws data into el; listen(state) hears what is picked, grouped and chosen.
export function draw(el, data, listen = () => {}) {
  const causes = data.causes.map(cause => (
    { ...cause, values: array(Float32Array, cause.values), codes: array(Int16Array, cause.codes) }));
  const all = [...Array(data.count).keys()], maps = data.networks.map(network => new Plane(network, data.count));
  const last = Math.max(...maps.map(map => map.last)), bytes = data.sheet && array(Uint8Array, data.sheet.bytes);
  const sheet = bytes && URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  const state = { step: last, picked: null, group: [], colour: causes.findIndex(cause => cause.name === data.colour) };
  for (const cause of causes) cause.all = spread(cause, all);
  let hover = null, path = [], stamps = null;
  const select = tag("select", { onchange: () => set({ colour: Number(select.value) }) },
    ...causes.map((cause, i) => tag("option", { value: i, selected: i === state.colour }, cause.name)));
  const oninput = () => set({ step: Number(slider.value) });
  const slider = tag("input", { type: "range", min: 0, max: last, step: 0.25, value: last, oninput });
  const legend = tag("div", { className: "row legend" }), tip = tag("div", { className: "tip" });
  const report = tag("div", { className: "report", ariaLive: "polite" });
  const root = tag("div", { className: "emb" }, tag("h4", { textContent: data.title }),
    tag("div", { className: "row" }, causes.length ? tag("label", {}, "colour ", select) : "",
      last ? tag("label", {}, "checkpoint ", slider) : ""), legend,
    tag("div", { className: "row" }, ...maps.map(map => map.figure)),
    tag("div", { className: "quiet", textContent: data.caption }), report, tip);
  root.dataset.lmSuppressShortcuts = "true";  // else JupyterLab takes the arrow keys
  el.append(root);
  const near = (map, i) => i === null ? [] : map.near(i, state.step / (last || 1));

  function makeStamps() {  // every kind of point, strong and faint, the last for images without the cause; the legend
    const cause = causes[state.colour], fore = getComputedStyle(root).color, dpr = window.devicePixelRatio || 1;
    const category = cause?.kind === "category", scale = data.scales[cause ? cause.kind : "category"];
    const colours = scale.map(colour => colour === "#000000" ? fore : colour);  // black, but white in the dark
    const radius = dpr * Math.min(5, Math.max(2.2, 90 / Math.sqrt(data.count))), size = 2 * Math.ceil(radius + 1);
    const kinds = colours.length * (category ? 3 : 1);
    const context = tag("canvas", {}).getContext("2d", { willReadFrequently: true });
    stamps = { size, pictures: [] };
    for (let kind = 0; kind <= kinds; kind++) {
      const corners = [40, 4, 3, 40][Math.floor(kind / colours.length)], turn = TURN / corners;
      const shape = outline(Array.from({ length: corners }, (_, i) => [Math.sin(i * turn), -Math.cos(i * turn)]));
      const fillStyle = kind < kinds ? colours[kind % colours.length] : GREY;
      [context.canvas.width, context.canvas.height] = [size, size];
      context.setTransform(radius, 0, 0, radius, size / 2, size / 2);
      Object.assign(context, { fillStyle, strokeStyle: fore, lineWidth: dpr / 3 / radius });
      context.fill(shape);
      context.stroke(shape);
      const picture = new Uint32Array(context.getImageData(0, 0, size, size).data.buffer);
      stamps.pictures.push(picture, picture.map(p => p & 0xffffff | p >>> 26 << 24));
    }
    legend.replaceChildren(...(category ? cause.names.map((name, code) => {
      const style = `color: ${colours[code % colours.length]}`, shape = Math.floor(code / colours.length) % 3;
      const select = () => set({ group: all.filter(i => cause.codes[i] === code), picked: null });
      return tag("button", { onclick: select }, tag("span", { style }, "●◆▲"[shape]), ` ${name}`);
    }) : cause ? [short(cause.low), tag("span", { className: "scale",
      style: `background: linear-gradient(to right, ${colours})` }), short(cause.high)] : []));
  }

  function paint() {
    for (const map of maps) {
      const strong = state.picked === null ? state.group : [state.picked, ...near(map, state.picked)];
      map.move(state.step / (last || 1));
      map.paint(causes[state.colour]?.codes || new Int16Array(data.count), stamps, strong);
    }
    mark();
  }

  function mark(drawnOn) {
    const colour = getComputedStyle(root).color, { picked } = state;
    for (const map of maps) map.mark(colour, hover, picked, near(map, picked), map === drawnOn ? path : []);
  }

  function words(i) {
    const known = causes.filter(cause => !isNaN(cause.values[i]));
    return [`image ${data.numbers[i]}`, ...known.map(({ name, names, values }) =>
      `${name}: ${names[values[i]] ?? short(values[i])}`)].join("\n");
  }

  function thumb(i, frame = "") {
    const { columns, rows } = data.sheet, x = 100 * (i % columns) / (columns - 1 || 1);
    const y = 100 * Math.floor(i / columns) / (rows - 1 || 1), size = `${100 * columns}% ${100 * rows}%`;
    return tag("span", { className: "thumb", title: words(i),
      style: `outline: ${frame}; background: url(${sheet}) ${x}% ${y}% / ${size}` });
  }

  function describe() {  // what the picked image and its neighbours share, or the group
    const { picked, group } = state, kind = causes.find(cause => cause.kind === "category");
    const groups = picked !== null ? maps.map(map => [map.network.name, [picked, ...near(map, picked)]])
      : group.length ? [["", group]] : [];
    if (!groups.length) return report.replaceChildren();
    const frame = i => picked === null || !kind ? "" : kind.codes[i] === kind.codes[picked] ? SAME : OTHER;
    report.replaceChildren(tag("h4", {}, picked === null ? `${group.length} of ${data.count} images` :
      `Image ${data.numbers[picked]} and its ${maps[0].k} nearest by ${data.by}`, ": what do they share?"));
    for (const [name, members] of sheet ? groups : []) {
      const thumbs = members.slice(0, SHOWN).map(i => thumb(i, frame(i)));
      report.append(tag("div", { className: "row thumbs" }, tag("span", {}, name), ...thumbs));
    }
    const draws = randomGroups(groups[0][1].length, data.count), cell = (...inner) => tag("td", {}, ...inner);
    const table = tag("table", {}, tag("tr", {}, cell(), ...groups.map(([name]) => cell(name))));
    for (const cause of causes) {
      const chance = draws.map(members => agreement(cause, members).value).sort((a, b) => a - b)[0.95 * DRAWS - 1];
      table.append(tag("tr", {}, cell(cause.name), ...groups.map(([, members]) => {
        const { value, says } = agreement(cause, members), bar = tag("i", { style: `width: ${100 * value}%` });
        const line = tag("b", { style: `left: ${100 * chance}%` });
        return cell(tag("span", { className: "bar", title: percent(value) }, bar, line), says);
      })));
    }
    report.append(table, tag("div", { className: "quiet", textContent: data.note }));
  }

  function set(changes) {
    const before = { ...state };
    Object.assign(state, changes);
    [select.value, slider.value] = [state.colour, state.step];
    if (state.colour !== before.colour) makeStamps();
    paint();
    if (state.picked !== null || state.picked !== before.picked || state.group !== before.group) describe();
    listen({ ...state });
  }

  function point(i, map, x, y) {  // hover: the words on image i beside (x, y) of a map; null: none
    tip.className = i === null ? "tip" : y > map.height / 2 ? "tip shown above" : "tip shown";
    if (i !== null && i !== hover) tip.replaceChildren(...(sheet ? [thumb(i)] : []), words(i));
    if (i !== null) Object.assign(tip.style, { top: `${map.box.offsetTop + y + 14}px`,
      left: `${Math.min(map.box.offsetLeft + x + 14, root.clientWidth - tip.offsetWidth)}px` });
    if (i !== hover) { hover = i; mark(); }
  }

  for (const map of maps) {
    const over = map.over, at = event => [event.offsetX, event.offsetY];
    over.onpointerdown = event => { over.setPointerCapture(event.pointerId); path = [at(event)]; point(null); };
    over.onpointermove = event => {
      if (path.length) { path.push(at(event)); mark(map); } else point(map.find(...at(event)), map, ...at(event));
    };
    over.onpointerleave = () => point(null);
    over.onpointercancel = () => { path = []; };
    over.onpointerup = event => {
      const drawn = path, long = drawn.some(([x, y]) => Math.hypot(x - drawn[0][0], y - drawn[0][1]) > 5);
      path = [];
      set(long ? { picked: null, group: map.inside(drawn) } : { picked: map.find(...at(event)), group: [] });
    };
    over.onkeydown = event => {
      const way = KEYS[event.key];
      if (way === undefined) return;
      event.preventDefault();
      set({ picked: way ? ((state.picked ?? -1) + way + data.count) % data.count : null, group: [] });
    };
  }
  const redraw = () => { makeStamps(); for (const map of maps) map.resize(); paint(); };
  const size = new ResizeObserver(redraw), theme = new MutationObserver(redraw);
  size.observe(maps[0].box);
  theme.observe(document.body, { attributes: true });  // JupyterLab's light and dark
  redraw();
  const remove = () => {
    [size, theme].forEach(observer => observer.disconnect());
    if (sheet) URL.revokeObjectURL(sheet);
    root.remove();
  };
  return { state, set, maps, remove };
}
