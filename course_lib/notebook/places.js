// Places of pictures: what is alike for a network, the colours of its components, and where a ViT's tokens look.
// Everything that a click asks for is in `data`, which places.py describes; its arrays are base64. No library.

const SIDE = 260, FRAME = "#56B4E9", STRENGTH = 0.65;
const KEYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const percent = part => `${Math.round(100 * part)} %`;

function tag(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function choice(label, options, value, set) {  // a labelled list; nothing where there is no choice
  const list = tag("select", { onchange: () => set(Number(list.value)) },
    ...options.map((text, i) => tag("option", { value: i, selected: i === value }, text)));
  return options.length > 1 ? [tag("label", {}, label, list)] : [];
}

// Draws data into el. state: picture, stage, layer, head (numbers), place (row, column; null: the class token).
export function draw(el, data) {
  const { size, stages, attention } = data, pixels = bytes(data.pixels), scale = bytes(data.scale);
  for (const stage of stages) Object.assign(stage, { alike: bytes(stage.alike), colours: bytes(stage.colours) });
  const weights = attention && bytes(attention.weights);
  const state = { picture: 0, stage: stages.length - 1, place: null, token: Boolean(attention),
    layer: attention ? attention.layers.length - 1 : 0, head: attention ? attention.heads.length - 2 : 0 };
  const side = () => stages[state.stage].side, dpr = Math.max(1, window.devicePixelRatio || 1);
  state.place = [Math.floor(side() / 2), Math.floor(side() / 2)];

  const panels = Object.fromEntries(["picture", "alike", "colours", ...(attention ? ["attention"] : [])].map(name => {
    const canvas = tag("canvas", { width: SIDE * dpr, height: SIDE * dpr, tabIndex: name === "picture" ? 0 : -1 });
    const caption = tag("figcaption", {});
    canvas.onclick = event => {
      const place = [event.offsetY / canvas.clientHeight, event.offsetX / canvas.clientWidth];
      set({ place: place.map(part => Math.min(side() - 1, Math.max(0, Math.floor(part * side())))), token: false });
    };
    canvas.onkeydown = event => {
      const way = KEYS[event.key];
      if (!way) return;
      event.preventDefault();
      set({ place: state.place.map((at, i) => Math.min(side() - 1, Math.max(0, at + way[i]))), token: false });
    };
    return [name, { canvas, caption, figure: tag("figure", { className: name }, caption, canvas) }];
  }));
  panels.picture.canvas.setAttribute("role", "application");
  panels.picture.canvas.setAttribute("aria-label", "The picture. Arrow keys move the place.");

  // An image of `size` pixels along a side, shown large: colour(x, y) -> [red, green, blue].
  function show({ canvas }, colour, framed) {
    const small = tag("canvas", { width: size, height: size }), image = new ImageData(size, size), large = canvas.getContext("2d");
    for (let y = 0, at = 0; y < size; y++)
      for (let x = 0; x < size; x++, at += 4) image.data.set([...colour(x, y), 255], at);
    small.getContext("2d").putImageData(image, 0, 0);
    large.imageSmoothingEnabled = false;
    large.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (!framed) return;
    const step = canvas.width / side(), [row, column] = state.place;
    for (const [width, ink] of [[5, "#000"], [3, FRAME]]) {  // a dark edge: seen on bright pictures, too
      [large.lineWidth, large.strokeStyle] = [width * dpr, ink];
      large.strokeRect(column * step, row * step, step, step);
    }
  }

  const seen = (x, y) => pixels.subarray(3 * ((state.picture * size + y) * size + x)).subarray(0, 3);
  const cell = (x, y, g) => Math.floor(y * g / size) * g + Math.floor(x * g / size);
  const heat = weight => (x, y) => {  // the picture in grey, and a map laid over it
    const [r, g, b] = seen(x, y), grey = (1 - STRENGTH) * (r + g + b) / 3, at = 3 * weight(x, y);
    return [0, 1, 2].map(i => grey + STRENGTH * scale[at + i]);
  };

  function paint() {
    const { alike, colours, variance, side: g } = stages[state.stage], count = g * g;
    const query = state.place[0] * g + state.place[1], from = (state.picture * count + query) * count;
    show(panels.picture, seen, !state.token);
    show(panels.alike, heat((x, y) => alike[from + cell(x, y, g)]), true);
    const shade = (x, y) => 3 * (state.picture * count + cell(x, y, g));
    show(panels.colours, (x, y) => colours.subarray(shade(x, y), shade(x, y) + 3), false);
    panels.picture.caption.textContent = `${data.names[state.picture]}, ${size} × ${size} pixels, as the network gets it`;
    panels.alike.caption.textContent = "Alike: cosine with the framed place (dark: 0 or less)";
    panels.colours.caption.textContent =
      `Colours: the three largest components, ${variance.map(percent).join(", ")} of the variance`;
    if (!attention) return;
    const T = count + 1, columns = attention.heads.length, row = state.token ? 0 : 1 + query;
    const map = (state.picture * attention.layers.length + state.layer) * columns + state.head, at = (map * T + row) * T;
    show(panels.attention, heat((x, y) => weights[at + 1 + cell(x, y, g)]), !state.token);
    panels.attention.caption.textContent = `Attention from ${state.token ? "the class token" : "the framed place"}: ` +
      `layer ${attention.layers[state.layer]}, ${attention.heads[state.head]}; ${weights[at]} % is on the class token`;
    token.setAttribute("aria-pressed", state.token);
  }

  function set(changes) {
    const before = side();
    Object.assign(state, changes);
    if (side() !== before) state.place = state.place.map(at => Math.floor((at + 0.5) * side() / before));
    [...strip.children].forEach((button, i) => button.setAttribute("aria-pressed", i === state.picture));
    paint();
  }

  const strip = tag("div", { className: "row strip" }, ...data.names.map((name, i) => {
    const canvas = tag("canvas", { width: size, height: size }), image = new ImageData(size, size);
    const own = pixels.subarray(3 * i * size * size);
    for (let at = 0; at < size * size; at++) image.data.set([...own.subarray(3 * at, 3 * at + 3), 255], 4 * at);
    canvas.getContext("2d").putImageData(image, 0, 0);
    return tag("button", { title: name, ariaLabel: name, onclick: () => set({ picture: i }) }, canvas);
  }));
  const token = tag("button", { className: "token", onclick: () => set({ token: true }) }, "from the class token");
  const names = list => list.map(String);
  const controls = tag("div", { className: "row" },
    ...choice("stage", stages.map(stage => `${stage.name}: ${stage.side} × ${stage.side}`), state.stage,
      stage => set({ stage })),
    ...(attention ? [token, ...choice("layer", names(attention.layers), state.layer, layer => set({ layer })),
      ...choice("", attention.heads, state.head, head => set({ head }))] : []));
  const root = tag("div", { className: "places" }, ...(data.names.length > 1 ? [strip] : []), controls,
    tag("div", { className: "row figures" }, ...Object.values(panels).map(panel => panel.figure)));
  el.append(root);
  set({});
  return { state, set, panels };
}
