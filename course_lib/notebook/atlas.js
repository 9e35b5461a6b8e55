// Learned networks as a map: a dot is a button, a picked one opens its card. `data` is described in atlas.py. No library,
// nothing is loaded.

const APART = 17;  // pixels between two dots

export default { render: ({ model, el }) => draw(el, model.get("data")).remove };

function tag(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// Draws data into el. state: colour, rest (whether what is no learned network is shown), picked.
export function draw(el, data) {
  const by = new Map(data.networks.map(network => [network.name, network])), dots = new Map();
  const state = { colour: data.colour, rest: true, picked: null };
  const shown = network => state.rest || network.kind === "learned";
  const shade = value => value == null ? "#8884"
    : data.scale[Math.round(Math.min(1, Math.max(0, value)) * (data.scale.length - 1))];
  const colour = network => data.legends[state.colour] ? network.colours[state.colour]
    : shade(network.read[state.colour]);

  const list = tag("select", { ariaLabel: "colour by", onchange: () => set({ colour: list.value }) },
    ...Object.keys(data.legends).map(name => tag("option", { value: name }, name)),
    ...data.causes.map(name => tag("option", { value: name }, `${name.replaceAll("_", " ")}, as far as it is read`)));
  const rest = tag("input", { type: "checkbox", checked: true, onchange: () => set({ rest: rest.checked }) });
  const legend = tag("span", { className: "legend" });
  const lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const plane = tag("div", { className: "plane" }, lines), card = tag("aside", { className: "card" });
  for (const network of data.networks) {
    const dot = tag("button", { className: `dot ${network.kind}`, title: network.title,
      onclick: () => set({ picked: network.name }) }, tag("i", {}), tag("span", {}, network.title));
    dot.dataset.name = network.name;
    dots.set(network.name, dot);
    plane.append(dot);
  }

  function place() {  // the map in pixels, and dots that would cover one another moved apart
    const here = data.networks.filter(shown), width = plane.clientWidth || 620, height = plane.clientHeight || 440;
    const ends = axis => [Math.min(...here.map(one => one[axis])), Math.max(...here.map(one => one[axis]))];
    const [[x0, x1], [y0, y1]] = [ends("x"), ends("y")];
    const scale = Math.min((width - 150) / (x1 - x0 || 1), (height - 50) / (y1 - y0 || 1));
    const at = here.map(one => ({ name: one.name, x: width / 2 - 40 + (one.x - (x0 + x1) / 2) * scale,
      y: height / 2 - (one.y - (y0 + y1) / 2) * scale }));
    for (let turn = 0; turn < 60; turn++) {
      for (let i = 0; i < at.length; i++) for (let j = 0; j < i; j++) {
        const dx = at[i].x - at[j].x || 0.1, dy = at[i].y - at[j].y || 0.1, gap = Math.hypot(dx, dy);
        if (gap >= APART) continue;
        const push = (APART - gap) / 2 / gap;
        at[i].x += dx * push; at[i].y += dy * push; at[j].x -= dx * push; at[j].y -= dy * push;
      }
    }
    const taken = [];
    for (const { name, x, y } of at) {
      const dot = dots.get(name), wide = 14 + 6.3 * by.get(name).title.length;
      const free = by.get(name).kind === "learned"
        && !taken.some(([u, v, w]) => Math.abs(y - v) < 13 && x < u + w && u < x + wide)
        && !at.some(other => other.name !== name && Math.abs(y - other.y) < 9 && other.x > x && other.x < x + wide);
      if (free) taken.push([x, y, wide]);
      dot.classList.toggle("named", free);
      Object.assign(dot.style, { left: `${x - 7}px`, top: `${y - 7}px` });
      dot.at = { x, y };
    }
  }

  const name = one => tag("button", { className: "link", onclick: () => set({ picked: one.name }) }, one.title);
  const bar = (label, value, text) => tag("div", { className: "bar" }, tag("span", {}, label),
    tag("i", {}, Object.assign(tag("b", {}), { style: `width: ${100 * Math.max(0, value)}%; background: #0072B2` })),
    tag("small", {}, text));

  function about(one) {
    const lesson = one.lesson ? [tag("p", {}, "Lesson: ", tag("a", { href: `${one.lesson}.ipynb`, target: "_blank" },
      one.lesson), " ", tag("code", {}, `course lab ${one.lesson.slice(0, 2)}`))] : [];
    const near = one.near.filter(([other]) => by.has(other)).map(([other, value]) => {
      const row = bar("", value, value.toFixed(2));
      row.firstChild.append(name(by.get(other)));
      return row;
    });
    const read = data.causes.filter(cause => one.read[cause] != null);
    return [tag("h4", {}, one.title), tag("p", { className: "quiet" }, [one.family, one.encoder].join(" · "),
      one.knn == null ? "" : ` · kNN ${(100 * one.knn).toFixed(1)} %`), ...lesson,
      tag("h5", {}, `Nearest (${data.measure})`), ...near,
      ...(read.length ? [tag("h5", {}, "What is read of each cause (1: exactly)")] : []),
      ...read.map(cause => bar(cause.replaceAll("_", " "), one.read[cause], one.read[cause].toFixed(2)))];
  }

  function join(one) {  // lines to the neighbours of the picked one
    lines.replaceChildren();
    if (!one) return;
    for (const [other, value] of one.near) {
      const to = by.get(other);
      if (!to || !shown(to)) continue;
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line"), [a, b] = [one.name, other];
      for (const [key, number] of [["x1", dots.get(a).at.x], ["y1", dots.get(a).at.y], ["x2", dots.get(b).at.x],
        ["y2", dots.get(b).at.y], ["stroke-width", 0.5 + 3 * Math.max(0, value)]]) line.setAttribute(key, number);
      lines.append(line);
    }
  }

  function set(changes) {
    Object.assign(state, changes);
    const one = by.get(state.picked);
    if (one && !shown(one)) state.rest = true;
    list.value = state.colour;
    rest.checked = state.rest;
    place();
    for (const network of data.networks) {
      const dot = dots.get(network.name);
      dot.hidden = !shown(network);
      dot.style.setProperty("--c", colour(network));
      dot.setAttribute("aria-pressed", network.name === state.picked);
    }
    const known = data.legends[state.colour];
    const spots = known ? Object.entries(known) : [[`not read`, data.scale[0]], ["half", shade(0.5)],
      ["exactly", data.scale.at(-1)]];
    legend.replaceChildren(...spots.map(([text, tone]) => tag("span", {},
      Object.assign(tag("i", {}), { style: `background: ${tone}` }), text)));
    card.replaceChildren(...(one ? about(one) : [tag("h4", {}, "Click a network"),
      tag("p", {}, "Its card names its lesson, the networks that are most alike to it, and what is read of each cause. "
        + "Hollow dots are not learned networks of a lesson: second seeds, encoders without training, raw pixels.")]));
    join(one && by.get(state.picked));
  }

  const root = tag("div", { className: "atlas" },
    tag("div", { className: "controls" }, tag("label", {}, "colour by ", list),
      tag("label", {}, rest, " second seeds, untrained, raw pixels"), legend),
    tag("div", { className: "body" }, plane, card));
  root.onkeydown = event => { if (event.key === "Escape") set({ picked: null }); };
  el.append(root);
  const watch = new ResizeObserver(() => set({}));
  watch.observe(plane);
  set({});
  return { state, set, remove: () => { watch.disconnect(); root.remove(); } };
}
