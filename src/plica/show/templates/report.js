"use strict";
(() => {
  const root = document.documentElement;
  const store = { get: () => { try { return localStorage.getItem("plica-theme"); } catch { return null; } },
                  set: v => { try { localStorage.setItem("plica-theme", v); } catch { /* private window */ } } };
  const saved = store.get();
  if (saved === "dark" || saved === "light") root.dataset.theme = saved;
  document.querySelector(".tools").hidden = false;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    store.set(root.dataset.theme);
  });
  document.getElementById("print").addEventListener("click", () => print());
  const links = [...document.querySelectorAll("nav a")];
  const targets = links.map(a => document.getElementById(a.hash.slice(1)));
  const mark = () => {
    let now = 0;
    targets.forEach((t, i) => { if (t.getBoundingClientRect().top < innerHeight / 3) now = i; });
    if (innerHeight + scrollY >= document.body.scrollHeight - 2) now = targets.length - 1;
    links.forEach((a, i) => i === now ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current"));
  };
  addEventListener("scroll", mark, { passive: true });
  for (const event of ["load", "hashchange"]) addEventListener(event, () => setTimeout(mark));
  mark();
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
})();
