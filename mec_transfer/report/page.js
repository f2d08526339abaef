"use strict";
// Sorts and filters the table, fills the panel of a number, and draws profiles anew. Whatever comes from a record
// enters the page as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const shared = (place) => (place === null ? null : data.shared[place]);
  const board = $("board"), measured = $("measured"), quoted = $("quoted");
  const heads = [...board.tHead.rows[0].cells];
  document.documentElement.classList.remove("plain");

  function make(tag, content, className) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...(Array.isArray(content) ? content : content === undefined || content === null ? [] : [String(content)]));
    return node;
  }

  // A line of the leaderboard's markdown: code between backticks.
  function inline(line) {
    const parts = line.split("`");
    if (parts.length % 2 === 0) return [line];
    return parts.map((part, at) => (at % 2 ? make("code", part) : document.createTextNode(part)));
  }

  // ---- Sorting
  const original = new Map([measured, quoted].filter(Boolean).map((body) => [body, [...body.rows]]));
  const names = new Intl.Collator("en", { numeric: true });

  function valueOf(row, column) {
    if (row.dataset.row !== undefined) return data.means[row.dataset.row][column];
    const value = row.cells[column + 1].dataset.value;
    return value === undefined ? null : Number(value);
  }

  function arrange(column, descending) {
    for (const [body, rows] of original) {
      const fixed = rows.filter((row) => row.classList.contains("divider"));
      const moving = rows.filter((row) => !row.classList.contains("divider"));
      if (column !== null) {
        moving.sort((one, other) => {
          if (column === -1) {
            const order = names.compare(one.cells[0].textContent, other.cells[0].textContent);
            return descending ? -order : order;
          }
          const a = valueOf(one, column), b = valueOf(other, column);
          if (a === null || b === null) return (a === null) - (b === null); // what has no number stays below
          return descending ? b - a : a - b;
        });
      }
      body.append(...fixed, ...moving);
    }
    heads.forEach((head, at) => {
      const sorted = column !== null && at === column + 1;
      head.setAttribute("aria-sort", sorted ? (descending ? "descending" : "ascending") : "none");
    });
  }

  board.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const column = Number(button.dataset.sort);
    const about = column === -1 ? null : [...data.columns, ...data.derived][column];
    const now = button.parentElement.getAttribute("aria-sort");
    const bestFirst = about ? about.higher : false;
    const descending = now === "none" ? bestFirst : now === "ascending";
    arrange(column, descending);
    say(`sorted by ${about ? about.title : "model"}, ${descending ? "descending" : "ascending"}`);
  });

  // ---- Filters
  const boxes = [...$("columns").querySelectorAll("input")];

  function say(text) {
    $("said").textContent = text;
  }

  function filter() {
    const family = $("by-family").value, protocol = $("by-protocol").value, part = $("by-model").value.trim().toLowerCase();
    const shown = heads.map((head, at) => {
      if (at === 0) return true;
      return boxes[at - 1].checked && (!family || head.dataset.family === family) && (!protocol || head.dataset.protocol === protocol);
    });
    heads.forEach((head, at) => (head.hidden = !shown[at]));
    let models = 0;
    for (const row of measured.rows) {
      row.hidden = !!part && !row.cells[0].textContent.toLowerCase().includes(part);
      models += !row.hidden;
      shown.forEach((visible, at) => (row.cells[at].hidden = !visible));
    }
    if (quoted) {
      quoted.hidden = !$("published").checked;
      for (const row of quoted.rows) {
        if (row.classList.contains("divider")) continue;
        const cells = [...row.cells];
        shown.forEach((visible, at) => (cells[at].hidden = !visible));
        row.hidden = !cells.some((cell, at) => at && shown[at] && cell.dataset.value !== undefined);
      }
    }
    const columns = shown.filter(Boolean).length - 1;
    say(models === measured.rows.length && columns === heads.length - 1 ? "" : `${models} of ${measured.rows.length} models, ${columns} of ${heads.length - 1} columns`);
  }

  for (const id of ["by-family", "by-protocol", "published", "columns"]) {
    if ($(id)) $(id).addEventListener("change", filter);
  }
  $("by-model").addEventListener("input", filter);
  $("reset").addEventListener("click", () => {
    $("by-family").value = $("by-protocol").value = $("by-model").value = "";
    for (const box of boxes) box.checked = true;
    if (quoted) $("published").checked = true;
    arrange(null, false);
    filter();
  });
  const menu = document.querySelector(".menu");
  document.addEventListener("click", (event) => menu.contains(event.target) || (menu.open = false));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.firstElementChild.focus();
  });

  // ---- Panels
  const panel = $("panel");

  function facts(pairs) {
    const list = make("dl");
    for (const [name, value] of pairs) {
      if (value === null || value === undefined || value === "") continue;
      list.append(make("dt", name), make("dd", value));
    }
    return list;
  }

  function table(head, rows) {
    const scroll = make("div", [], "scroll"), node = make("table", [], "plainly");
    node.createTHead().append(make("tr", head.map((text) => Object.assign(make("th", text), { scope: "col" }))));
    node.createTBody().append(...rows.map((row) => make("tr", row.map((value) => make("td", value)))));
    scroll.append(node);
    return scroll;
  }

  const pairsOf = (object) => Object.entries(object).filter(([, value]) => value !== null && value !== "").map(([name, value]) => `${name} ${value}`).join(", ");
  const once = (values) => [...new Set(values.filter((value) => value !== null && value !== undefined && value !== ""))];

  function open(cell) {
    const [row, column] = cell.split(":").map(Number);
    const about = data.columns[column];
    const trials = data.cells[cell].map((trial) => Object.fromEntries(data.fields.map((field, at) => [field, trial[at]])));
    const body = $("panel-body");
    const metricsOf = (trial) => Object.fromEntries((shared(trial.metrics) || []).map((name, at) => [name, trial.values[at]]));
    $("panel-head").textContent = `${data.rows[row]}: ${about.title}`;
    const shown = board.querySelector(`[data-cell="${cell}"]`).cloneNode(true);
    for (const note of shown.querySelectorAll(".hidden")) note.remove();
    body.replaceChildren(make("p", shown.textContent.trim(), "number"));
    body.append(make("p", [`${about.metric}, ${about.higher ? "higher" : "lower"} is better; `, make("code", about.protocol)], "quiet"));
    const part = (head, ...nodes) => body.append(make("h3", head), ...nodes);

    part("Trials", table(["trial", "seed", about.metric, "chosen", "by", "seconds", "finished"], trials.map((trial) => {
      const selection = shared(trial.selection) || {}, value = metricsOf(trial)[about.metric];
      return [trial.trial, trial.seed, trial.status !== "ok" ? "failed" : value === null ? "" : value.toFixed(2), selection.chosen, selection.by, trial.seconds, trial.finished.replace("T", " ").replace("+00:00", " UTC")];
    })));
    for (const trial of trials.filter((one) => one.status !== "ok")) {
      part(`Why trial ${trial.trial} failed`, make("p", shared(trial.error) || "no reason given", "bad"));
      if (trial.log !== null) body.append(make("p", "The end of its log:", "quiet"), make("pre", shared(trial.log)));
    }
    const datasets = once(trials.map((trial) => trial.data)).map(shared);
    const differs = [...(shared(about.differs) || []), ...once(datasets.map((one) => one.note))];
    part("What differs from the published", differs.length ? make("ul", differs.map((line) => make("li", inline(line)))) : make("p", "Nothing that is known."));
    if (about.published !== null) body.append(make("p", ["Published: ", ...inline(shared(about.published))], "quiet"));
    const warnings = once(trials.flatMap((trial) => shared(trial.warnings) || []));
    if (warnings.length) part("Warnings", make("ul", warnings.map((line) => make("li", line))));

    const words = once(trials.map((trial) => (trial.repeat === null ? "" : `${shared(trial.repeat)} ${trial.trial}`)));
    const files = once(trials.map((trial) => trial.job)).map((file) => `mec-transfer job ${quote(file)}`);
    if (words.length) part("The command that repeats it", make("pre", words.join("\n")), make("p", "In the folder that the run was started in; NEW_FOLDER is any that does not exist.", "quiet"));
    if (files.length) {
      if (!words.length) part("The command that repeats it");
      body.append(make("p", words.length ? "Or the job itself, which returns at once for as long as its folder holds a number:" : "The job itself. It returns at once for as long as its folder holds a number; its file has every setting.", "quiet"), make("pre", files.join("\n")));
    } else if (!words.length) {
      part("The command that repeats it", make("p", "Not known: the job's job.json is not beside its record.", "quiet"));
    }

    const everything = trials.map(metricsOf), all = once(everything.flatMap(Object.keys));
    if (all.length) {
      part("Everything that was measured", table(["metric", ...trials.map((trial) => `trial ${trial.trial}`)], all.map((name) => [name, ...everything.map((one) => one[name])])));
    }
    const figures = [...document.querySelectorAll(`[data-of="${cell}"]`)];
    if (figures.length) part("Pictures", make("div", figures.map((figure) => figure.cloneNode(true)), "film"));
    const weights = once(trials.map((trial) => trial.weights)).map(shared);
    part("Weights, config and data", facts([
      ...weights.map((one) => ["weights", pairsOf(one)]),
      ["checkpoint", once(trials.map((trial) => trial.source)).map(shared).join(", ")],
      ["config", `sha256 ${about.config}`],
      ...datasets.map((one) => ["data", `${one.name}, ${one.num_images} images${one.classes ? `, ${one.classes} classes` : ""}${one.sequences ? `, ${one.sequences} sequences` : ""}${Object.keys(one.splits).length ? ` (${pairsOf(one.splits)})` : ""}; fingerprint ${one.fingerprint || "unknown"}`]),
    ]));
    part("Versions and hardware", facts([
      ...once(trials.map((trial) => trial.versions)).map((place) => ["versions", pairsOf(shared(place))]),
      ...once(trials.map((trial) => trial.hardware)).map((place) => ["hardware", pairsOf(shared(place))]),
    ]));
    const card = [...document.querySelectorAll(".protocol")].find((one) => one.dataset.columns.split(" ").includes(String(column)));
    if (card) part("Protocol card", card.querySelector(".protocol-card").cloneNode(true));
    panel.showModal();
    panel.scrollTop = 0;
  }

  function quote(word) {
    return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
  }

  board.addEventListener("click", (event) => {
    const button = event.target.closest("[data-cell]");
    if (button) open(button.dataset.cell);
  });
  $("close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => event.target === panel && panel.close()); // beside it

  // ---- Profiles
  function gain(row, base, column) {
    const here = data.means[row][column], there = data.means[base][column];
    return here === null || there === null ? null : (here - there) * (data.columns[column].higher ? 1 : -1);
  }

  function draw() {
    const base = Number($("baseline").value), figures = [...document.querySelectorAll(".profile")];
    if ($("profiled")) figures[0].dataset.row = $("profiled").value;
    const gains = figures.map((figure) => data.columns.map((_, column) => gain(figure.dataset.row, base, column)));
    const widest = Math.max(...gains.flat().map((value) => Math.abs(value || 0))) || 1;
    figures.forEach((figure, at) => {
      figure.querySelector(".who").textContent = data.rows[figure.dataset.row];
      figure.querySelector(".to").textContent = data.rows[base];
      [...figure.querySelectorAll("tbody tr")].forEach((line, column) => {
        const value = gains[at][column], length = (100 * (value || 0)) / widest, bar = line.querySelector("rect");
        bar.setAttribute("class", length < 0 ? "loss" : "gain");
        bar.setAttribute("x", Math.min(length, 0).toFixed(1));
        bar.setAttribute("width", Math.abs(length).toFixed(1));
        line.cells[2].textContent = value === null ? "" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
      });
    });
  }
  for (const id of ["baseline", "profiled"]) if ($(id)) $(id).addEventListener("change", draw);

  // ---- Videos that stand still when asked to
  if ($("moving")) {
    const videos = [...document.querySelectorAll("img[data-still]")].map((image) => [image, image.src]);
    $("moving").addEventListener("change", (event) => {
      for (const [image, moving] of videos) image.src = event.target.checked ? moving : image.dataset.still;
    });
  }
})();
