"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (css, root = document) => [...root.querySelectorAll(css)];
  const data = JSON.parse($("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const make = (tag, cls = "", text = "") => {
    const made = document.createElement(tag);
    if (cls) made.className = cls;
    if (text) made.textContent = text;
    return made;
  };
  const press = (buttons, chosen) =>
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === chosen)));

  // light and dark
  const theme = $("theme");
  const dark = () => {
    const set = document.documentElement.dataset.theme;
    return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const shade = () => theme.setAttribute("aria-pressed", String(dark()));
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    shade();
  });
  shade();

  // which verdicts are shown
  const shows = all("[data-show]");
  shows.forEach((b) =>
    b.addEventListener("click", () => {
      press(shows, b);
      all(".verdict").forEach((v) => {
        v.hidden = b.dataset.show !== "all" && v.dataset.status !== b.dataset.show;
      });
    })
  );

  // the picture: views and size
  const canvases = all(".canvas");
  const views = all("[data-view]");
  let shown = canvases[0];
  const drawing = (canvas) => canvas.querySelector("svg");
  const fit = (canvas) => {
    const svg = drawing(canvas);
    if (!svg) return;
    const box = svg.viewBox.baseVal;
    const width = Math.min(box.width * 1.34, Math.max(canvas.clientWidth, 300));
    resize(svg, Math.max(width, Math.min(box.width * 0.8, 4000)));
  };
  const resize = (svg, width) => {
    const box = svg.viewBox.baseVal;
    svg.style.width = `${width}px`;
    svg.style.height = `${(width * box.height) / box.width}px`;
  };
  const zoom = {
    in: () => drawing(shown) && resize(drawing(shown), drawing(shown).clientWidth * 1.25),
    out: () => drawing(shown) && resize(drawing(shown), drawing(shown).clientWidth / 1.25),
    fit: () => {
      const svg = drawing(shown);
      if (svg) resize(svg, shown.clientWidth - 2);
    },
  };
  all("[data-zoom]").forEach((b) => b.addEventListener("click", () => zoom[b.dataset.zoom]()));
  views.forEach((b) =>
    b.addEventListener("click", () => {
      press(views, b);
      canvases.forEach((c) => (c.hidden = c.dataset.kind !== b.dataset.view));
      shown = canvases.find((c) => !c.hidden);
      if (!drawing(shown).style.width) fit(shown);
      paint();
    })
  );

  // the player
  let trace = null;
  let at = 0;
  let timer = null;
  const states = [];

  const key = (token) => JSON.stringify(token.map((f) => [f[0], f[1]]));
  const replay = () => {
    states.length = 0;
    const state = new Map(Object.entries(trace.start).map(([p, tokens]) => [Number(p), tokens.slice()]));
    states.push(new Map(state));
    for (const step of trace.steps) {
      for (const change of step.changes) {
        const tokens = (state.get(change.p) || []).slice();
        for (const gone of change.gone) {
          const wanted = key(gone);
          const found = tokens.findIndex((t) => key(t) === wanted);
          if (found >= 0) tokens.splice(found, 1);
        }
        tokens.push(...change.new);
        if (tokens.length) state.set(change.p, tokens);
        else state.delete(change.p);
      }
      states.push(new Map(state));
    }
  };

  const node = (canvas, letter, number) => {
    const own = document.getElementById(`${canvas.dataset.kind}-${letter}${number}`);
    if (own) return own;
    const group = data.groups[letter][number];
    return group === null ? null : document.getElementById(`${canvas.dataset.kind}-g${group}`);
  };
  const put = (parent, tag, attributes) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent.append(made);
    return made;
  };
  const paint = () => {
    if (!trace || !drawing(shown)) return;
    const svg = drawing(shown);
    all(".halo, .count", svg).forEach((e) => e.remove());
    all(".firing", svg).forEach((e) => e.classList.remove("firing"));
    const step = at > 0 ? trace.steps[at - 1] : null;
    const counts = new Map();
    const touched = new Set((step ? step.changes : []).map((c) => node(shown, "p", c.p)));
    for (const [p, tokens] of states[at]) {
      const where = node(shown, "p", p);
      if (where) counts.set(where, (counts.get(where) || 0) + tokens.length);
    }
    const firing = step && node(shown, "t", step.t);
    if (firing) {
      const box = firing.getBBox();
      const halo = put(firing, "rect", {
        x: box.x - 6, y: box.y - 6, width: box.width + 12, height: box.height + 12, rx: 8, class: "halo",
      });
      firing.insertBefore(halo, firing.firstChild);
      const name = firing.id.split("-").pop();
      all(".edge", svg).forEach((e) => {
        const mine = e.dataset.from === name || e.dataset.to === name;
        const other = document.getElementById(
          `${shown.dataset.kind}-${e.dataset.from === name ? e.dataset.to : e.dataset.from}`
        );
        if (mine && touched.has(other)) e.classList.add("firing");
      });
      reveal(firing);
    }
    for (const [where, count] of counts) {
      const box = where.getBBox();
      const badge = put(where, "g", { class: touched.has(where) ? "count changed" : "count" });
      const x = box.x + box.width - 2;
      put(badge, "circle", { cx: x, cy: box.y + 4, r: 9 });
      put(badge, "text", { x, y: box.y + 8 }).textContent = count > 99 ? "99+" : String(count);
    }
  };
  const reveal = (element) => {
    const a = element.getBoundingClientRect();
    const b = shown.getBoundingClientRect();
    if (a.left < b.left || a.right > b.right) shown.scrollLeft += a.left + a.width / 2 - b.left - b.width / 2;
    if (a.top < b.top || a.bottom > b.bottom) shown.scrollTop += a.top + a.height / 2 - b.top - b.height / 2;
  };

  const value = (token) => {
    const made = make("span", "value");
    if (token.length === 1 && token[0][0] === "") {
      made.append(make("span", token[0][2], token[0][1]));
      return made;
    }
    made.append("{");
    token.forEach(([path, text, what], i) => {
      if (i) made.append(", ");
      made.append(make("span", what, `${path}: ${text}`));
    });
    made.append("}");
    return made;
  };
  const line = (sign, cls, name, token) => {
    const made = make("li");
    made.append(make("span", `sign ${cls}`, sign), make("span", cls, name), " ");
    if (token && token.length) made.append(value(token));
    return made;
  };
  const difference = () => {
    const out = $("changes");
    out.replaceChildren();
    const list = make("ul");
    if (at === 0) {
      out.append(make("p", "faint", "The case starts with"));
      for (const [p, tokens] of states[0]) tokens.forEach((t) => list.append(line("+", "plus", data.places[p], t)));
      out.append(list);
      return;
    }
    const step = trace.steps[at - 1];
    out.append(make("p", "faint", step.who + (step.note && step.note !== step.who ? ` · ${step.note}` : "")));
    const added = [];
    for (const [name, token] of step.says) list.append(line("«", "", `${name} :=`, token));
    for (const change of step.changes) {
      const name = data.places[change.p];
      if (change.gone.every((t) => !t.length) && change.new.every((t) => !t.length)) {
        const now = (states[at].get(change.p) || []).length;
        const was = (states[at - 1].get(change.p) || []).length;
        const made = line(now < was ? "−" : "+", now < was ? "minus" : "plus", `${name}  ${was} → ${now}`);
        if (now < was) list.append(made);
        else added.push(made);
        continue;
      }
      change.gone.forEach((t) => list.append(line("−", "minus", name, change.new.length ? t : [])));
      change.new.forEach((t) => added.push(line("+", "plus", name, t)));
    }
    list.append(...added);
    out.append(list);
  };
  const everything = () => {
    const out = $("tokens");
    out.replaceChildren();
    if (!$("marking").open) return;
    const list = make("ul");
    for (const [p, tokens] of [...states[at]].sort((a, b) => a[0] - b[0])) {
      if (tokens.every((t) => !t.length)) list.append(line("●", "", `${data.places[p]}  × ${tokens.length}`));
      else tokens.forEach((t) => list.append(line("●", "", data.places[p], t)));
    }
    out.append(list);
  };
  const hash = () => `#trace=${encodeURIComponent(trace.name)}&step=${at}`;
  const show = ({ link = "write" } = {}) => {
    const step = at > 0 ? trace.steps[at - 1] : null;
    const last = at === trace.steps.length;
    $("now").textContent =
      (step
        ? `Step ${at} of ${trace.steps.length}: ${step.glyph} ${step.role} ${step.name}`
        : `Start, ${trace.steps.length} steps`) +
      (last && trace.refuted && !trace.left_out ? ` ✗ breaks ${trace.property}` : "") +
      (last && trace.left_out ? ` (${trace.left_out} further steps are not in this page)` : "");
    $("slider").value = String(at);
    $("slider").setAttribute("aria-valuetext", $("now").textContent);
    all("#steps button").forEach((b, i) => {
      if (i === at) b.setAttribute("aria-current", "step");
      else b.removeAttribute("aria-current");
    });
    const list = $("steps");
    const current = list.querySelector("[aria-current]");
    if (current) {
      const item = current.parentElement;
      const top = item.offsetTop - list.offsetTop;
      if (top < list.scrollTop || top + item.offsetHeight > list.scrollTop + list.clientHeight)
        list.scrollTop = top - list.clientHeight / 2;
    }
    all("[data-go=first], [data-go=back]").forEach((b) => (b.disabled = at === 0));
    all("[data-go=next], [data-go=last]").forEach((b) => (b.disabled = last));
    difference();
    everything();
    paint();
    $("link").href = hash();
    if (link === "write") history.replaceState(null, "", hash());
  };
  const choose = (name) => {
    trace = data.traces.find((t) => t.name === name) || data.traces[0];
    at = 0;
    $("trace").value = trace.name;
    $("why").textContent = trace.reason;
    $("slider").max = String(trace.steps.length);
    replay();
    const item = (text, i) => {
      const li = make("li");
      const b = make("button", "", text);
      b.type = "button";
      b.addEventListener("click", () => go(i));
      li.append(b);
      return li;
    };
    $("steps").replaceChildren(
      item("the case starts", 0),
      ...trace.steps.map((s, i) => item(`${s.glyph} ${s.role} ${s.name}`, i + 1))
    );
  };
  const go = (to, options) => {
    at = Math.max(0, Math.min(trace.steps.length, to));
    show(options);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    document.querySelector("[data-go=play]").textContent = "Play";
  };
  const play = () => {
    if (timer) return stop();
    if (at === trace.steps.length) go(0);
    document.querySelector("[data-go=play]").textContent = "Pause";
    timer = setInterval(() => {
      go(at + 1);
      if (at === trace.steps.length) stop();
    }, 1200 / Number($("speed").value));
  };
  const moves = {
    first: () => { stop(); go(0); },
    back: () => { stop(); go(at - 1); },
    play,
    next: () => { stop(); go(at + 1); },
    last: () => { stop(); go(trace.steps.length); },
  };
  const linked = () => {
    const found = new URLSearchParams(location.hash.slice(1));
    if (!found.has("trace") || !data.traces.some((t) => t.name === found.get("trace"))) return false;
    stop();
    choose(found.get("trace"));
    go(Number.parseInt(found.get("step"), 10) || 0, { link: "keep" });
    return true;
  };

  canvases.forEach((c) => !c.hidden && fit(c));
  if (!data.traces.length) return;
  all("[data-go]").forEach((b) => b.addEventListener("click", () => moves[b.dataset.go]()));
  $("slider").addEventListener("input", () => { stop(); go(Number($("slider").value)); });
  $("trace").addEventListener("change", () => { stop(); choose($("trace").value); show(); });
  $("speed").addEventListener("change", () => { if (timer) { stop(); play(); } });
  $("marking").addEventListener("toggle", everything);
  all(".play").forEach((a) =>
    a.addEventListener("click", () => $("stage").scrollIntoView({ block: "start" }))
  );
  addEventListener("hashchange", linked);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const on = event.target.closest("input, select, textarea");
    const presses = event.target.closest("button, summary, a, .canvas");
    const wanted = { ArrowLeft: "back", ArrowRight: "next", Home: "first", End: "last", " ": "play" }[event.key];
    if (!wanted || on || (presses && (event.key === " " || presses.matches(".canvas")))) return;
    if (event.key === " " && !event.target.closest("#player")) return;
    if (["Home", "End"].includes(event.key) && !event.target.closest("#player")) return;
    event.preventDefault();
    moves[wanted]();
  });
  if (!linked()) {
    choose(data.traces[0].name);
    show({ link: "keep" });
  }
})();
