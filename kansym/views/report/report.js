"use strict";

// -- the edges: hover shows, focus shows and stays; one tab stop, arrow keys between them ---------

for (const network of document.querySelectorAll("[data-network]")) {
  const edges = [...network.querySelectorAll(".edge")];
  const hint = network.querySelector(".hint");
  let kept = null;

  const show = (edge) => {
    for (const other of edges) {
      const isShown = other === edge;
      other.classList.toggle("shown", isShown);
      document.getElementById(other.dataset.panel).hidden = !isShown;
    }
    hint.hidden = edge !== null;
  };

  const keep = (edge) => {
    kept = edge;
    for (const other of edges) {
      other.setAttribute("aria-selected", String(other === edge));
      other.setAttribute("tabindex", other === edge ? "0" : "-1");
    }
    show(edge);
  };

  const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

  edges.forEach((edge, place) => {
    edge.addEventListener("pointerenter", () => show(edge));
    edge.addEventListener("pointerleave", () => show(kept));
    edge.addEventListener("click", () => edge.focus());
    edge.addEventListener("focus", () => keep(edge));
    edge.addEventListener("keydown", (event) => {
      let next = place + (moves[event.key] || 0);
      if (event.key === "Home") next = 0;
      if (event.key === "End") next = edges.length - 1;
      if (next === place) return;
      event.preventDefault();
      edges[Math.min(Math.max(next, 0), edges.length - 1)].focus();
    });
  });
}

// -- the pruning threshold: what would go turns dashed --------------------------------------------

for (const slider of document.querySelectorAll(".threshold")) {
  const entry = slider.closest(".entry");
  const thresholds = JSON.parse(slider.dataset.thresholds);
  const texts = JSON.parse(slider.dataset.texts);

  slider.addEventListener("input", () => {
    const place = Number(slider.value);
    for (const part of entry.querySelectorAll("[data-goes]")) {
      part.classList.toggle("going", part.dataset.goes[place] === "1");
    }
    slider.setAttribute("aria-valuetext", thresholds[place]);
    entry.querySelector("output").textContent = thresholds[place];
    entry.querySelector(".going-text").textContent = texts[place];
  });
}

// -- the table of formulas: choosing a row shows what belongs to it -------------------------------

for (const table of document.querySelectorAll(".choice")) {
  for (const row of table.tBodies[0].rows) {
    const choice = row.querySelector("input");
    row.addEventListener("click", () => {
      if (!choice.checked) choice.click();
      choice.focus();
    });
    choice.addEventListener("change", () => {
      for (const other of table.tBodies[0].rows) {
        other.classList.toggle("shown", other === row);
        document.getElementById(other.querySelector("input").value).hidden = other !== row;
      }
      say(`Shown: formula ${row.sectionRowIndex + 1} of ${table.tBodies[0].rows.length}`);
    });
  }
}

// -- copying --------------------------------------------------------------------------------------

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("LaTeX copied");
    } catch {
      window.getSelection().selectAllChildren(source);
      say("The LaTeX is selected: press Ctrl+C to copy it");
    }
  });
}

function say(text) {
  document.getElementById("status").textContent = text;
}
