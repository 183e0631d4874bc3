"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, attributes = {}, text = "") => {
    const node = name in { svg: 1, g: 1, path: 1, line: 1, text: 1, rect: 1, circle: 1, clipPath: 1 }
      ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text; // never HTML: names may be anything
    return node;
  };
  const short = (v) => {
    if (v === 0) return "0";
    const size = Math.abs(v);
    return size >= 1e6 || size < 1e-4 ? v.toExponential(2) : String(+v.toPrecision(size >= 1000 ? 6 : 5));
  };

  for (const button of document.querySelectorAll("button.enlarge"))
    button.addEventListener("click", () => button.parentNode.classList.toggle("large"));
  const alike = document.getElementById("alike");
  if (alike) alike.addEventListener("change", () => document.getElementById("fields").classList.toggle("some", !alike.checked));

  const source = document.getElementById("data");
  if (!source) return;
  const { runs, charts } = JSON.parse(source.textContent);
  const place = document.getElementById("charts"), legend = document.getElementById("legend");
  const hidden = new Set();
  let axis = 0, whole = false; // 0 steps, 1 seconds; whether early values far off are shown

  const ticks = (low, high, most) => {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(+(i * step).toPrecision(12));
    return found;
  };

  const drawings = charts.map((chart, number) => {
    const box = make("div", { class: "chart" }), title = make("h3");
    const reset = make("button", { type: "button", hidden: "" }, "all steps");
    const svg = make("svg", { role: "img", "aria-label": `${chart.name} against the step` });
    const tip = make("div", { class: "tip", hidden: "" });
    title.append(make("span", {}, chart.name), reset);
    box.append(title, svg, tip);
    place.append(box);
    let zoom = null, frame = null, from = null;

    const draw = () => {
      const width = Math.max(240, box.clientWidth), height = Math.round(Math.min(330, Math.max(210, width * 0.56)));
      const shown = chart.series.filter((s) => !hidden.has(s.run));
      const xs = shown.flatMap((s) => s.points.map((p) => p[axis]));
      const all = [Math.min(...xs), Math.max(...xs)];
      const [x0, x1] = zoom || (xs.length ? all : [0, 1]);
      const extent = (share) => {
        let low = Infinity, high = -Infinity;
        for (const s of shown) {
          const first = s.points[0][axis], start = Math.max(x0, first + share * (s.points[s.points.length - 1][axis] - first));
          for (const p of s.points)
            if (p[2] !== null && p[axis] >= start && p[axis] <= x1) { low = Math.min(low, p[2]); high = Math.max(high, p[2]); }
        }
        return high < low ? [0, 1] : [low, high];
      };
      let [low, high] = extent(0);
      // Bounds come from afar: where the first fifth of a run would leave little to be seen of the rest, it is cut off.
      const [late, latest] = extent(0.2);
      if (!zoom && !whole && high - low > 2.5 * (latest - late) && latest > late) [low, high] = [late, latest];
      const room = (high - low || Math.abs(high) || 1) * 0.06;
      low -= room; high += room;
      const marks = ticks(low, high, height / 55), texts = marks.map(short);
      const left = 14 + 7 * Math.max(...texts.map((t) => t.length)), right = width - 24, top = 8, bottom = height - 38;
      const wide = x1 > x0 ? x1 - x0 : 1;
      const X = (v) => left + ((v - x0) / wide) * (right - left), Y = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      svg.replaceChildren();
      tip.hidden = true;
      marks.forEach((v, i) => {
        svg.append(make("line", { class: "rule", x1: left, x2: right, y1: Y(v), y2: Y(v) }));
        svg.append(make("text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, texts[i]));
      });
      for (const v of ticks(x0, x0 + wide, (right - left) / 90))
        svg.append(make("text", { x: X(v), y: bottom + 17, "text-anchor": "middle" }, short(v)));
      svg.append(make("text", { x: (left + right) / 2, y: height - 5, "text-anchor": "middle" }, axis ? "seconds" : "step"));
      const clip = make("clipPath", { id: `clip${number}` });
      clip.append(make("rect", { x: left, y: top - 2, width: right - left, height: bottom - top + 4 }));
      const lines = make("g", { "clip-path": `url(#clip${number})` });
      for (const s of shown) {
        let way = "", open = false;
        for (const p of s.points) {
          way += p[2] === null ? "" : `${open ? "L" : "M"}${X(p[axis]).toFixed(1)} ${Y(p[2]).toFixed(1)}`;
          open = p[2] !== null;
        }
        lines.append(make("path", { class: `${runs[s.run].colour} ${s.split}`, d: way }));
        if (s.points.filter((p) => p[2] !== null).length === 1) {
          const p = s.points.find((q) => q[2] !== null);
          lines.append(make("circle", { class: runs[s.run].colour, cx: X(p[axis]), cy: Y(p[2]), r: 3 }));
        }
      }
      svg.append(clip, lines);
      reset.hidden = zoom === null;
      frame = { width, left, right, top, bottom, x0, wide, X, Y, shown };
    };

    const at = (event) => {
      const r = svg.getBoundingClientRect();
      return [(event.clientX - r.left) * (frame.width / r.width), (event.clientY - r.top) * (frame.width / r.width)];
    };
    const value = (x) => frame.x0 + ((x - frame.left) / (frame.right - frame.left)) * frame.wide;
    const clear = () => { tip.hidden = true; svg.querySelectorAll(".cursor, .drag, .spot").forEach((n) => n.remove()); };
    const hover = (event) => {
      clear();
      const [x, y] = at(event), wanted = value(x);
      if (x < frame.left - 4 || x > frame.right + 4) return;
      if (from !== null) {
        const [a, b] = [Math.min(from, x), Math.max(from, x)].map((v) => Math.min(frame.right, Math.max(frame.left, v)));
        svg.append(make("rect", { class: "drag", x: a, y: frame.top, width: b - a, height: frame.bottom - frame.top }));
      }
      const rows = [];
      for (const s of frame.shown) {
        let best = null;
        for (const p of s.points)
          if (p[2] !== null && (!best || Math.abs(p[axis] - wanted) < Math.abs(best[axis] - wanted))) best = p;
        if (best) rows.push([s, best]);
      }
      if (!rows.length) return;
      const nearest = rows.reduce((a, b) => (Math.abs(b[1][axis] - wanted) < Math.abs(a[1][axis] - wanted) ? b : a))[1][axis];
      svg.append(make("line", { class: "cursor", x1: frame.X(nearest), x2: frame.X(nearest), y1: frame.top, y2: frame.bottom }));
      rows.sort((a, b) => Math.abs(frame.Y(a[1][2]) - y) - Math.abs(frame.Y(b[1][2]) - y));
      const listed = rows.slice(0, 12).sort((a, b) => (chart.lower ? a[1][2] - b[1][2] : b[1][2] - a[1][2]));
      tip.replaceChildren(make("div", {}, `${axis ? "seconds" : "step"} ${short(nearest)}`));
      for (const [s, p] of listed) {
        svg.append(make("circle", { class: `${runs[s.run].colour} spot`, cx: frame.X(p[axis]), cy: frame.Y(p[2]), r: 3.5 }));
        const row = make("div"), name = make("span");
        name.append(make("i", { class: `swatch ${runs[s.run].colour}` }), `${runs[s.run].name}${s.split === "train" ? ", train" : ""}`);
        row.append(name, make("b", {}, short(p[2])));
        tip.append(row);
      }
      if (rows.length > 12) tip.append(make("div", {}, `and ${rows.length - 12} more`));
      tip.hidden = false;
      const scale = svg.getBoundingClientRect().width / frame.width, middle = frame.X(nearest) * scale;
      const beside = middle + 14 + tip.offsetWidth > box.clientWidth ? middle - 14 - tip.offsetWidth : middle + 14;
      tip.style.left = `${Math.max(0, beside)}px`;
      tip.style.top = `${svg.offsetTop + 10}px`;
    };
    svg.addEventListener("pointermove", hover);
    svg.addEventListener("pointerleave", () => { from = null; clear(); });
    svg.addEventListener("pointercancel", () => { from = null; clear(); });
    svg.addEventListener("pointerdown", (event) => { from = at(event)[0]; hover(event); });
    svg.addEventListener("pointerup", (event) => {
      const to = at(event)[0], start = from;
      from = null;
      if (start !== null && Math.abs(to - start) > 12) {
        const [a, b] = [start, to].map((v) => value(Math.min(frame.right, Math.max(frame.left, v)))).sort((p, q) => p - q);
        zoom = [a, b];
        clear();
        draw();
      }
    });
    const out = () => { zoom = null; clear(); draw(); };
    svg.addEventListener("dblclick", out);
    reset.addEventListener("click", out);
    new ResizeObserver(draw).observe(box);
    draw();
    return { draw, out };
  });

  if (runs.length > 1)
    runs.forEach((run, i) => {
      const button = make("button", { type: "button", "aria-pressed": "true" });
      button.append(make("i", { class: `swatch ${run.colour}` }), run.name);
      button.addEventListener("click", () => {
        hidden.has(i) ? hidden.delete(i) : hidden.add(i);
        button.setAttribute("aria-pressed", String(!hidden.has(i)));
        for (const d of drawings) d.draw();
      });
      legend.append(button);
    });
  const toggle = (text, act) => {
    const label = make("label"), box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => { act(box.checked); for (const d of drawings) d.out(); });
    label.append(box, ` ${text}`);
    legend.append(label);
  };
  toggle("by seconds", (checked) => { axis = checked ? 1 : 0; });
  toggle("from the first step", (checked) => { whole = checked; });
  legend.append(make("span", {}, "Solid: validation, dashed: training. Drag across a chart to look closer."));
})();
