// The reading list as a map, families by years: papers are buttons, a picked one opens its card and shows by lines what
// it builds on and what builds on it. `data` is described in papers_map.py. No library, nothing is loaded.

const SVG = "http://www.w3.org/2000/svg", NONE = "all";  // NONE: the address without a paper
const SHOWS = { all: "all papers", lesson: "with a lesson here", method: "with a method here",
  schedule: "in the study group's schedule", rest: "to read" };
const KEYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

export default { render: ({ model, el }) => draw(el, model.get("data")).remove };

function tag(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// Draws data into el. hash: the picked paper is in the page's address. state: word, family, first, last, show, picked.
export function draw(el, data, { hash = false } = {}) {
  const papers = data.papers.map(paper => ({ ...paper, on: [],
    kind: paper.lesson ? "lesson" : paper.method ? "method" : "rest" }));
  const by = new Map(papers.map(paper => [paper.key, paper]));
  const years = [...new Set(papers.map(paper => paper.year))].sort();
  for (const paper of papers) {
    paper.words = ["key", "short", "title", "venue", "section", "family", "idea"].map(name => paper[name]).join(" ")
      .toLowerCase();
    for (const key of paper.builds_on) by.get(key).on.push(paper.key);  // which papers build on it
  }
  const everything = { word: "", family: "", first: years[0], last: years.at(-1), show: "all", picked: null };
  const state = { ...everything, ...data.start };
  let peeked = null, inside = false;  // the paper under the mouse; whether the focus is in the card

  const fits = paper => state.word.toLowerCase().split(/\s+/).every(word => paper.words.includes(word))
    && (!state.family || paper.family === state.family) && paper.year >= state.first && paper.year <= state.last
    && (state.show === "all" || (state.show === "schedule" ? paper.schedule : state.show === "method" ? paper.method
      : paper.kind === state.show));
  const pick = key => set({ picked: key });

  // ---------------------------------------------------------------------------------------------- the controls
  const choice = (name, label, options) => {
    const onchange = () => set({ [name]: options[list.selectedIndex][0] });
    const list = tag("select", { ariaLabel: label, name, onchange }, ...options.map(([value, text]) =>
      tag("option", { value }, text)));
    return list;
  };
  const search = tag("input", { type: "search", name: "word", placeholder: "search: negative, mask, video …",
    ariaLabel: "words to search for", oninput: () => set({ word: search.value }) });
  const names = data.families.map(({ name }) => name);
  const lists = { family: choice("family", "family", [["", "all families"], ...names.map(name => [name, name])]),
    first: choice("first", "first year", years.map(year => [year, year])),
    last: choice("last", "last year", years.map(year => [year, year])),
    show: choice("show", "which papers", Object.entries(SHOWS)) };
  const count = tag("span", { className: "count", role: "status" });
  const some = tag("button", { className: "chance", title: "open a paper that you did not look for",
    onclick: () => { const found = papers.filter(fits).filter(paper => paper.key !== state.picked);
      if (found.length) pick(found[Math.floor(Math.random() * found.length)].key); } }, "one by chance");
  const reset = tag("button", { className: "reset", onclick: () => set({ ...everything }) }, "reset");
  const legend = tag("div", { className: "legend" }, ...[["lesson", "a lesson teaches it"],
    ["method", "its method is in the library"], ["rest", "to read"], ["up", "builds on"], ["down", "built on by"]]
    .map(([kind, text]) => tag("span", {}, tag("i", { className: `mark ${kind}` }), text)));

  // ---------------------------------------------------------------------------------------------- the map
  function chip(paper, small = false) {
    const className = `paper ${paper.kind}${data.highlight.includes(paper.key) ? " here" : ""}`;
    const button = tag("button", { className, onclick: () => { inside = small; pick(paper.key); } },
      tag("i", { className: `mark ${paper.kind}` }), tag("span", {}, paper.short));
    button.style.setProperty("--family", data.families.find(({ name }) => name === paper.family).colour);
    button.dataset.key = paper.key;
    if (!small) {
      button.onpointerenter = button.onfocus = () => peek(paper);
      button.onpointerleave = button.onblur = () => peek(null);
    }
    return button;
  }
  const chips = new Map(), heads = [], at = (node, row, column) => {
    node.style.gridArea = `${row} / ${column}`;
    return node;
  };
  const head = (name, value, title) => {
    const number = tag("small", {}), button = tag("button", { className: `head ${name}`, title }, value, number);
    button.onclick = () => set(name === "family" ? { family: state.family === value ? "" : value }
      : state.first === value && state.last === value ? { first: years[0], last: years.at(-1) }
        : { first: value, last: value });
    heads.push({ name, value, number, button });
    return button;
  };
  const grid = tag("div", { className: "grid" });
  const cell = (year, name) => papers.filter(paper => paper.year === year && paper.family === name);
  const wide = year => Math.max(...names.map(name => cell(year, name).length)) ** 0.75;
  grid.style.gridTemplateColumns = `max-content ${years.map(year => `minmax(min-content, ${wide(year)}fr)`).join(" ")}`;
  years.forEach((year, j) => grid.append(at(head("year", year, `only ${year}`), 1, j + 2)));
  data.families.forEach(({ name, colour, about }, i) => {
    const label = at(head("family", name, about), i + 2, 1);
    label.style.setProperty("--family", colour);
    grid.append(label);
    years.forEach((year, j) => {
      for (const paper of cell(year, name)) chips.set(paper.key, chip(paper));
      const inner = cell(year, name).map(({ key }) => chips.get(key));
      const place = at(tag("div", { className: "cell" }, ...inner), i + 2, j + 2);
      place.dataset.year = year;
      place.style.setProperty("--family", colour);
      grid.append(place);
    });
  });
  const lines = document.createElementNS(SVG, "svg"), tip = tag("div", { className: "tip" });
  lines.setAttribute("aria-hidden", "true");
  const map = tag("div", { className: "map" }, lines, grid, tip);
  const box = node => {  // its place in the map
    const { left, top, width, height } = node.getBoundingClientRect(), origin = map.getBoundingClientRect();
    return { x: left - origin.left, y: top - origin.top, width, height };
  };

  function line(from, to, kind) {  // from an older paper to one that builds on it; beside the column if both are there
    const a = box(chips.get(from)), b = box(chips.get(to)), path = document.createElementNS(SVG, "path");
    if (!a.width || !b.width) return;  // left out of a narrow page
    const ahead = b.x > a.x + a.width, [x, y] = [ahead ? a.x + a.width : a.x, a.y + a.height / 2];
    const [X, Y] = [b.x, b.y + b.height / 2], bend = ahead ? Math.max(24, (X - x) / 2) : 24 + Math.abs(Y - y) / 12;
    path.setAttribute("d", ahead ? `M${x} ${y}C${x + bend} ${y} ${X - bend} ${Y} ${X} ${Y}`
      : `M${x} ${y}C${Math.min(x, X) - bend} ${y} ${Math.min(x, X) - bend} ${Y} ${X} ${Y}`);
    path.setAttribute("class", kind);
    lines.append(path);
  }

  function connect() {  // the lines of the paper under the mouse, else of the picked one
    const centre = by.get(peeked ?? state.picked), old = new Set();
    const walk = (paper, kind) => paper.builds_on.forEach(key => {
      line(key, paper.key, kind);
      if (old.has(key)) return;
      old.add(key);
      walk(by.get(key), "up far");
    });
    lines.replaceChildren();
    lines.setAttribute("width", map.clientWidth);
    lines.setAttribute("height", map.clientHeight);
    if (centre) walk(centre, "up");
    if (centre) centre.on.forEach(key => line(centre.key, key, "down"));
    map.classList.toggle("linked", Boolean(state.picked));
    for (const [key, button] of chips) {
      button.classList.toggle("up", Boolean(centre?.builds_on.includes(key)));
      button.classList.toggle("down", Boolean(centre?.on.includes(key)));
      button.classList.toggle("centre", centre?.key === key);
      button.classList.toggle("old", old.has(key));
    }
  }

  function peek(paper) {
    peeked = paper && paper.key;
    connect();
    tip.className = paper && paper.key !== state.picked ? "tip shown" : "tip";
    if (!paper) return;
    const { x, y, height } = box(chips.get(paper.key));
    tip.replaceChildren(tag("b", {}, paper.title), ` ${paper.venue} ${paper.year}`);
    tip.style.left = `${Math.max(0, Math.min(x, map.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${y + height + 6}px`;
  }

  grid.onkeydown = event => {
    const way = KEYS[event.key], from = chips.get(event.target.dataset.key);
    if (!way || !from) return;
    event.preventDefault();
    const open = [...chips.values()].filter(button => !button.classList.contains("out"));
    const here = box(from), cost = button => {  // how far it is in that direction, three times what it is beside it
      const x = box(button).x - here.x, y = box(button).y - here.y, ahead = x * way[0] + y * way[1];
      return ahead > 3 ? ahead + 3 * Math.abs(x * way[1] + y * way[0]) : Infinity;
    };
    const next = open.reduce((best, button) => cost(button) < cost(best) ? button : best, from);
    const step = open[open.indexOf(from) + way[0]];  // at the end of a line, on to the next
    (next !== from ? next : way[0] && step ? step : from).focus();
  };

  // ---------------------------------------------------------------------------------------------- the card
  const card = tag("aside", { className: "card", ariaLabel: "the paper's card" });
  const link = (text, href) => tag("a", { href, target: "_blank", rel: "noopener" }, text);
  const row = (name, ...inner) => tag("div", { className: "row" }, tag("b", {}, name), ...inner);
  const code = text => tag("code", {}, text);
  function welcome() {
    const most = [...papers].sort((a, b) => b.on.length - a.on.length).slice(0, 6);
    return [tag("h2", {}, "Where to begin?"),
      tag("p", {}, "Every button is a paper: its family is the row, its year the column. Point at one to see what it "
        + "builds on and what builds on it; click it for its card, and go on from there."),
      row("Most built on", ...most.map(paper => chip(paper, true))),
      row("The oldest", chip(papers.reduce((a, b) => b.year < a.year ? b : a), true)),
      row("The newest", ...papers.filter(paper => paper.year === years.at(-1)).map(paper => chip(paper, true))),
      ...(data.highlight.length ? [row("In this lesson", ...data.highlight.map(key => chip(by.get(key), true)))] : [])];
  }

  function about(paper) {
    const related = (name, keys) => keys.length ? [row(name, ...keys.map(key => chip(by.get(key), true)))] : [];
    const close = tag("button", { className: "close", ariaLabel: "close the card", onclick: () => pick(null) }, "×");
    const from = [paper.lists, paper.reported, paper.correction && `Note on the entry: ${paper.correction}`];
    return [close, tag("h2", { tabIndex: -1 }, paper.short), tag("p", { className: "title" }, paper.title),
      tag("p", { className: "quiet" }, `${paper.venue} ${paper.year} · ${paper.family}`
        + (paper.schedule ? " · in the study group's schedule" : "")),
      tag("p", {}, paper.idea), tag("p", {}, paper.detail),
      ...(paper.equation ? [tag("p", { className: "equation" }, paper.equation)] : []),
      ...(paper.lesson ? [row("Lesson", paper.lesson, code(`course lab ${paper.lesson.slice(0, 2)}`))] : []),
      ...(paper.method ? [row("Here", code(`course train ${paper.method}`), code(paper.file))] : []),
      row("Read", link("paper", paper.url), ...(paper.code_url ? [link("code", paper.code_url)] : [])),
      ...related("Builds on", paper.builds_on), ...related("Built on by", paper.on),
      tag("details", {}, tag("summary", {}, "from the reading lists"),
        ...from.filter(Boolean).map(text => tag("p", { className: "quiet" }, text)))];
  }

  // ---------------------------------------------------------------------------------------------- together
  function set(changes) {
    const before = state.picked;
    Object.assign(state, changes);
    if (!by.has(state.picked)) state.picked = null;
    if (changes.first && state.first > state.last) state.last = state.first;
    if (changes.last && state.last < state.first) state.first = state.last;
    if (search.value !== state.word) search.value = state.word;
    for (const [name, list] of Object.entries(lists)) list.value = state[name];
    const found = papers.filter(fits), keys = new Set(found.map(paper => paper.key));
    const focus = keys.has(state.picked) ? state.picked : found[0]?.key;
    for (const [key, button] of chips) {  // the Tab key stops at one of them, the arrows go on
      button.classList.toggle("out", !keys.has(key));
      button.tabIndex = key === focus ? 0 : -1;
      button.setAttribute("aria-pressed", key === state.picked);
    }
    for (const { name, value, number, button } of heads) {
      const here = found.filter(paper => paper[name] === value).length;
      number.textContent = ` ${here}`;
      button.classList.toggle("out", !here);
      button.setAttribute("aria-pressed", name === "family" ? state.family === value
        : state.first === value && state.last === value);
    }
    count.textContent = `${found.length} of ${papers.length} papers`;
    if (state.picked !== before || !card.children.length) {
      tip.className = "tip";
      card.classList.toggle("open", Boolean(state.picked));
      card.replaceChildren(...(state.picked ? about(by.get(state.picked)) : welcome()));
      card.scrollTop = 0;
      if (state.picked && inside) card.querySelector("h2").focus({ preventScroll: true });
      if (state.picked) chips.get(state.picked).scrollIntoView({ block: "nearest" });
      if (state.picked && card.getBoundingClientRect().top > window.innerHeight - 60)  // where it cannot stick
        card.scrollIntoView({ block: "nearest" });
      if (hash && location.hash.slice(1) !== (state.picked ?? NONE)) location.hash = state.picked ?? NONE;
      inside = false;
    }
    connect();
  }

  const root = tag("div", { className: "papers" },
    tag("div", { className: "bar" }, search, lists.family, tag("span", {}, lists.first, " – ", lists.last),
      lists.show, count, some, reset), legend, tag("div", { className: "body" }, map, card));
  root.onkeydown = event => {
    if (event.key !== "Escape" || !state.picked) return;
    const last = chips.get(state.picked);
    pick(null);
    last.focus({ preventScroll: true });
  };
  root.dataset.lmSuppressShortcuts = "true";  // else JupyterLab takes the arrow keys
  el.append(root);
  const size = new ResizeObserver(connect);
  size.observe(map);
  const follow = () => pick(location.hash.slice(1) || null);
  if (hash) window.addEventListener("hashchange", follow);
  set(hash && location.hash.length > 1 ? { picked: location.hash.slice(1) } : {});
  const remove = () => {
    size.disconnect();
    if (hash) window.removeEventListener("hashchange", follow);
    root.remove();
  };
  return { state, set, remove };
}
