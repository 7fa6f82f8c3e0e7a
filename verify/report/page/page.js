// Opens paths, draws their routes over the drawings, and steps through their hops. The
// geometry is in #ways; everything else is in the page already.
(() => {
  "use strict";
  const all = (selector, of = document) => [...of.querySelectorAll(selector)];
  const one = (selector, of = document) => of.querySelector(selector);
  const ways = JSON.parse(one("#ways").textContent);
  const drawings = [".wide svg", ".narrow svg"].map((s) => one(s));
  const canvas = one(".canvas"), caption = one(".caption"), steps = one(".steps");
  const hint = caption.innerHTML;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let path = null; // the open path's element
  let at = -1; // the hop that is shown; -1 for the whole route
  let held = false; // the key that followed a link is still down: it must not press the row that got the focus

  document.documentElement.classList.add("js");

  const shape = (name, attributes, into) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    into.append(e);
    return e;
  };

  // clear removes everything that draw drew.
  function clear() {
    for (const svg of drawings) {
      for (const g of all(".over, .top", svg)) g.replaceChildren();
      for (const e of all(".end", svg)) e.classList.remove("end");
    }
  }

  function draw() {
    clear();
    const way = ways[path.id];
    drawings.forEach((svg, which) => {
      for (const { machine, pod } of way.ends) {
        const is = pod ? (e) => e.dataset.pod === pod : (e) => e.classList.contains("box");
        for (const e of all("rect[data-machine]", svg)) if (e.dataset.machine === machine && is(e)) e.classList.add("end");
      }
      const over = one(".over", svg), top = one(".top", svg);
      way.steps.forEach((step, i) => {
        const when = at < 0 || i < at ? "" : i === at ? " now" : " later";
        if (step.line[which]) shape("path", { d: step.line[which], class: step.kind + (step.hidden ? " unseen" : "") + when }, over);
        const [x, y] = step.at[which];
        if (x !== undefined) shape("circle", { cx: x, cy: y, r: when === " now" ? 6.5 : 4, class: step.kind + when }, top);
      });
      const last = way.steps.at(-1);
      if (way.lost && last && last.at[which].length) {
        const [x, y] = last.at[which];
        shape("path", { d: `M${x - 7} ${y - 7}l14 14m0 -14l-14 14`, class: "gone " + (one(".lost", path) ? "lost" : "") }, top);
      }
      if (way.label) label(way.label, svg);
      const now = one(".over .now", svg);
      if (now && !still.matches && svg.getClientRects().length) travel(now, top, way.steps[at].kind);
    });
    reveal(way);
  }

  // label writes the measured figure below the middle of a route's longest line, within the drawing.
  function label(texts, svg) {
    const line = all(".over path:not(.reply)", svg).sort((a, b) => b.getTotalLength() - a.getTotalLength())[0];
    if (!line) return;
    const { x, y } = line.getPointAtLength(line.getTotalLength() / 2), whole = svg.viewBox.baseVal;
    const w = texts.join(" ").length * 7.3 + 14, h = 21; // .label's letters are 7.2 wide
    const left = Math.min(whole.width - w - 2, Math.max(2, x - w / 2)), top = Math.min(whole.height - h - 2, y + 4);
    const g = shape("g", { class: "label" }, one(".top", svg));
    shape("rect", { x: left, y: top, width: w, height: h, rx: 6 }, g);
    const text = shape("text", { x: left + w / 2, y: top + 15 }, g);
    texts.forEach((t, i) => { shape("tspan", { class: i ? "interval" : "median" }, text).textContent = (i ? " " : "") + t; });
  }

  // travel moves a packet along a line once.
  function travel(line, into, kind) {
    const dot = shape("circle", { r: 5, class: "packet " + kind }, into);
    const length = line.getTotalLength(), lasts = Math.min(700, 200 + length * 1.2), began = performance.now();
    const move = (now) => {
      const part = Math.min(1, Math.max(0, (now - began) / lasts));
      const p = line.getPointAtLength(length * part);
      dot.setAttribute("cx", p.x);
      dot.setAttribute("cy", p.y);
      if (!dot.isConnected) return;
      if (part < 1) requestAnimationFrame(move);
      else dot.remove();
    };
    move(began);
  }

  // reveal scrolls the drawing, where it is larger than its place, to what is shown.
  function reveal(way) {
    const which = drawings.findIndex((svg) => svg.getClientRects().length);
    if (which < 0) return;
    const box = at < 0 && one(".label rect", drawings[which])?.getBBox();
    const shown = box ? [box.x + box.width / 2, box.y + box.height / 2] : (at >= 0 ? [way.steps[at]] : way.lost ? way.steps.slice(-1) : way.steps.slice(0, 1)).map((s) => s.at[which]).find((xy) => xy.length);
    if (!shown) return;
    const p = new DOMPoint(...shown).matrixTransform(drawings[which].getScreenCTM()), frame = canvas.getBoundingClientRect();
    canvas.scrollBy(p.x - frame.left - frame.width / 2, p.y - frame.top - frame.height / 2);
  }

  // tell describes what is drawn.
  function tell() {
    const way = path && ways[path.id];
    steps.hidden = !way || !way.hops;
    if (!path) {
      caption.innerHTML = hint;
      return;
    }
    if (at >= 0) {
      caption.replaceChildren(...[...hops()[at].childNodes].map((n) => n.cloneNode(true)));
    } else {
      const title = document.createElement("p"), more = document.createElement("p");
      title.append(one(".way", path).cloneNode(true));
      const why = one(".no-hops", path), lost = one(".lost, .ended", path);
      more.textContent = why ? why.textContent : lost ? lost.textContent : way.hops ? "All hops are drawn; → shows them one by one." : one(".reason, .brief", path).textContent;
      if (lost) more.className = lost.className;
      const figures = all(".measured dd", path).map((f) => {
        const p = document.createElement("p");
        p.className = "measured";
        p.textContent = f.textContent;
        return p;
      });
      caption.replaceChildren(title, ...figures, more);
    }
    if (!way.hops) return;
    one(".at", steps).textContent = (at < 0 ? "all" : at + 1) + " / " + way.steps.length;
    one(".prev", steps).disabled = at < 0;
    one(".next", steps).disabled = at === way.steps.length - 1;
  }

  const hops = () => all(".hop", path);

  function show(hop) {
    at = hop;
    hops().forEach((e, i) => {
      e.toggleAttribute("aria-current", false);
      e.tabIndex = i === Math.max(at, 0) ? 0 : -1;
      if (i === at) e.setAttribute("aria-current", "step");
    });
    draw();
    tell();
  }

  // step goes to another hop; the focus goes along if it was on one.
  function step(by) {
    if (!path || !ways[path.id].hops) return;
    const next = Math.min(ways[path.id].steps.length - 1, Math.max(-1, at + by));
    if (next === at) return;
    const focused = document.activeElement.classList.contains("hop");
    show(next);
    if (focused) (next < 0 ? one(".row", path) : hops()[next]).focus();
    else if (next >= 0) hops()[next].scrollIntoView({ block: "nearest" });
  }

  function open(li, hop = -1) {
    if (path && path !== li) close();
    path = li;
    li.classList.add("open");
    one(".row", li).setAttribute("aria-expanded", "true");
    show(hop);
  }

  function close() {
    if (!path) return;
    path.classList.remove("open");
    one(".row", path).setAttribute("aria-expanded", "false");
    for (const e of hops()) e.removeAttribute("aria-current");
    path = null;
    at = -1;
    clear();
    tell();
  }

  async function copy(button) {
    const code = one("code", button.parentElement);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch { // not allowed: then it is at least selected
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  }

  // follow opens the path in the page's address or in a link.
  function follow(hash) {
    const li = hash.startsWith("#path-") && document.getElementById(hash.slice(1));
    if (!li) return false;
    if (li.hidden) {
      find.value = "";
      for (const b of all("[aria-pressed]")) b.setAttribute("aria-pressed", "true");
      filter();
    }
    open(li);
    one(".row", li).focus({ preventScroll: true });
    li.scrollIntoView();
    return true;
  }

  function jump(link) {
    const there = follow(link.hash);
    if (there) history.replaceState(null, "", link.hash);
    return there;
  }

  document.addEventListener("click", (event) => {
    const to = (selector) => event.target.closest(selector);
    const link = to("a[href^='#path-']");
    if (link && jump(link)) event.preventDefault();
    else if (to(".row")) {
      if (held && !event.detail) return;
      const li = to(".path");
      if (li === path) close();
      else open(li);
    } else if (to(".hop")) {
      const li = to(".path"), hop = to(".hop").dataset.step - 1;
      if (li === path) show(hop);
      else open(li, hop);
    } else if (to(".copy")) copy(to(".copy"));
    else if (to(".prev")) step(-1);
    else if (to(".next")) step(1);
    else if (to("[data-outcome][aria-pressed]")) {
      const b = to("[aria-pressed]");
      b.setAttribute("aria-pressed", String(b.getAttribute("aria-pressed") !== "true"));
      filter();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input")) return;
    const row = event.target.closest(".row"), hop = event.target.closest(".hop");
    const link = event.target.closest("a[href^='#path-']");
    const inPath = row || hop || event.target.closest(".path, .steps");
    const rows = all(".path:not([hidden]) > .row");
    const go = (i) => rows[Math.min(rows.length - 1, Math.max(0, i))].focus();
    const keys = {
      Enter: link && (() => { held = jump(link); }),
      ArrowDown: hop ? () => step(1) : row && (() => go(rows.indexOf(row) + 1)),
      ArrowUp: hop ? () => step(-1) : row && (() => go(rows.indexOf(row) - 1)),
      Home: row && (() => go(0)),
      End: row && (() => go(rows.length - 1)),
      ArrowRight: inPath && (() => step(1)),
      ArrowLeft: inPath && (() => step(-1)),
      Escape: path && (() => {
        const was = one(".row", path);
        close();
        was.focus();
      }),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  document.addEventListener("keyup", () => { held = false; });

  // filter hides the paths that do not match, and headings with nothing under them.
  const find = one(".find input");
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = all("[data-outcome][aria-pressed=false]").map((b) => b.dataset.outcome);
    let any = false;
    for (const li of all(".path")) {
      const text = ((li.closest(".group")?.firstElementChild.textContent ?? "") + " " + li.textContent).toLowerCase();
      li.hidden = off.includes(li.dataset.outcome) || !words.every((w) => text.includes(w));
      any ||= !li.hidden;
      if (li.hidden && li === path) close();
    }
    for (const e of all(".group, .group-section")) e.hidden = !one(".path:not([hidden])", e);
    one(".none").hidden = any;
  }
  // A scroll target must not be under the drawing, where that stays above the paths.
  new ResizeObserver(([stage]) => {
    document.documentElement.style.setProperty("--stage", stage.target.offsetHeight + "px");
  }).observe(one(".stage"));
  find.addEventListener("input", filter);
  addEventListener("hashchange", () => follow(location.hash));
  follow(location.hash);
})();
