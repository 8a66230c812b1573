document.addEventListener("DOMContentLoaded", () => {
  depth();
  openTarget();
  addEventListener("hashchange", openTarget);
  panels();
  filters();
  names();
  contents();
  reach();
  addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);
  window.MathJax?.startup?.promise?.then(reach);
});

// Three depths of a chapter: Read as it was written, Follow with the algebra open, Run with everything open.
function depth() {
  const group = document.querySelector(".dm-depth");
  if (!group) return;
  const folds = [...document.querySelectorAll("article details")].map((fold) => [fold, fold.open]);
  const open = {
    read: (fold, first) => first,
    follow: (fold, first) => fold.matches("[data-sympy]") || (first && !fold.closest(".dm-group[data-sympy]")),
    run: () => true,
  };
  const show = (name) => folds.forEach(([fold, first]) => (fold.open = open[name](fold, first)));
  // A browser may refuse memory to a page from disk.
  let remembered = null;
  try { remembered = localStorage.getItem("diffmem-depth"); } catch { /* first shown, then */ }
  const name = remembered in open ? remembered : "read";
  group.querySelector(`[value=${name}]`).checked = true;
  if (name !== "read") show(name);
  group.hidden = false;
  group.addEventListener("change", (event) => {
    show(event.target.value);
    try { localStorage.setItem("diffmem-depth", event.target.value); } catch { /* for this page only */ }
  });
}

// An address that names something folded opens what it is in.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || !target.closest("article details")) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView();
}

// Panels side by side get a box of their own, in which they scroll on a phone instead of shrinking out of legibility.
function panels() {
  for (const image of document.querySelectorAll(".cell_output img")) {
    const box = () => {
      const ratio = image.naturalWidth / image.naturalHeight;
      if (ratio < 2 || ratio > 4) return;
      const around = document.createElement("div");
      around.className = "diffmem-panels";
      image.replaceWith(around);
      around.append(image);
    };
    if (image.complete) box();
    else image.addEventListener("load", box, { once: true });
  }
}

// The index of results by chapter, kind and badge: the choices are read off the entries.
function filters() {
  const entries = [...document.querySelectorAll("details.dm-entry")];
  const head = document.querySelector("#all-claims h2");
  if (!entries.length || !head) return;
  const form = document.createElement("form");
  form.className = "dm-filters";
  const count = document.createElement("output");
  const selects = ["chapter", "kind", "badge"].map((what) => {
    const prefix = `dm-${what}-`;
    const of = (entry) => [...entry.classList].find((name) => name.startsWith(prefix)).slice(prefix.length);
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.name = what;
    for (const value of ["all", ...new Set(entries.map(of))]) select.add(new Option(value.replaceAll("-", " "), value));
    label.append(`${what} `, select);
    form.append(label);
    return [select, of];
  });
  form.append(count);
  const apply = () => {
    for (const entry of entries) entry.hidden = selects.some(([s, of]) => s.value !== "all" && s.value !== of(entry));
    for (const section of document.querySelectorAll("article section:has(> details.dm-entry)"))
      section.hidden = !section.querySelector("details.dm-entry:not([hidden])");
    count.value = `${entries.filter((entry) => !entry.hidden).length} of ${entries.length}`;
  };
  form.addEventListener("change", apply);
  head.after(form);
  apply();
}

// What the theme leaves without a name, or with a role that it may not have.
function names() {
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
  for (const summary of document.querySelectorAll(".bd-sidebar-primary summary")) {
    const section = summary.closest("li").querySelector("a");
    summary.setAttribute("aria-label", `Pages of ${section.textContent.trim()}`);
  }
  const sidebar = document.querySelector(".bd-sidebar-primary");
  sidebar?.setAttribute("role", "region");
  sidebar?.setAttribute("aria-label", "Sidebar");
  // A fold says itself what it holds.
  for (const summary of document.querySelectorAll("article details.hide > summary")) summary.removeAttribute("aria-label");
  for (const entry of document.querySelectorAll(".citation-list, .citation")) entry.removeAttribute("role");
}

// Marks where the reader is in the contents of the page: the last heading above a line that runs down the window as the
// page comes to its end, so that its last sections have their turn. (The theme's own mark gets lost in long sections.)
function contents() {
  const links = [...document.querySelectorAll(".bd-toc-nav a.nav-link[href^='#']")];
  const places = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  if (!links.length || places.includes(null)) return;
  document.body.removeAttribute("data-bs-spy");
  const mark = () => {
    const left = document.documentElement.scrollHeight - innerHeight - scrollY;
    const line = innerHeight * Math.max(0.3, 1 - Math.max(left, 0) / innerHeight);
    const here = links[places.findLastIndex((place) => place.getBoundingClientRect().top <= line)];
    for (const link of links) {
      const around = here && link.closest("li").contains(here);
      link.classList.toggle("active", Boolean(around));
      if (link === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  for (const event of ["scroll", "resize"]) addEventListener(event, mark, { passive: true });
  document.addEventListener("toggle", mark, true);
  mark();
}

// What scrolls sideways can be scrolled from the keyboard.
function reach() {
  const boxes = "article :is(.math, mjx-container, pre, table, .diffmem-panels, .dm-rests .sd-card-body, .dm-scroll)";
  for (const box of document.querySelectorAll(boxes)) {
    const scrolls = box.scrollWidth > box.clientWidth && /auto|scroll/.test(getComputedStyle(box).overflowX);
    if (scrolls) box.tabIndex = 0;
    else if (box.getAttribute("tabindex") === "0") box.removeAttribute("tabindex");
  }
}
