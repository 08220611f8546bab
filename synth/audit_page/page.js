"use strict";
// Shows the rows of the audit. Whatever a model or a provider wrote becomes a text node, never markup.
(() => {
  const names = JSON.parse(document.getElementById("names").textContent);
  const pieces = [...document.querySelectorAll("script.piece")];
  const place = Object.fromEntries(names.fields.map((name, at) => [name, at]));
  const query = document.getElementById("query");
  const status = document.getElementById("status");
  const list = document.getElementById("found");
  const MOST = 50;
  let rows = null, reading = null, asked = 0;

  const make = (tag, type, ...inner) => {
    const made = document.createElement(tag);
    if (type) made.className = type;
    made.append(...inner.filter(one => one !== ""));
    return made;
  };
  const link = (anchor, text) => {
    const made = make("a", "", text);
    made.href = "#" + anchor;
    return made;
  };
  const count = value => Number(value).toLocaleString("en-US");
  const money = nano => nano ? "US$ " + (nano / 1e9).toFixed(6) : "free";
  const moment = at => new Date(at).toISOString().slice(0, 19).replace("T", " ") + " UTC";
  const get = (row, name) => row[place[name]];

  const unpack = async piece => {
    const bytes = Uint8Array.from(atob(piece.textContent.trim()), one => one.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return JSON.parse(await new Response(plain).text());
  };
  const read = async () => {
    const all = [];
    for (const [at, piece] of pieces.entries()) {
      if (pieces.length > 20) status.textContent = `reading the rows: ${at + 1} of ${pieces.length}`;
      all.push(...await unpack(piece));
    }
    rows = all;
  };

  const searched = ["prompt", "attempt", "key", "request", "offering", "served", "class", "kind", "split"];
  const spoken = ["message", "finish", "asked", "said"];
  const rank = (row, words) => {
    const id = `${get(row, "prompt")}#${get(row, "sample")}`.toLowerCase();
    if (id === words || get(row, "prompt").toLowerCase() === words || get(row, "attempt") === words) return 0;
    if (id.startsWith(words)) return 1;
    if (searched.some(name => String(get(row, name) ?? "").toLowerCase().includes(words))) return 2;
    if (spoken.some(name => String(get(row, name) ?? "").toLowerCase().includes(words))) return 3;
    return get(row, "verdicts").some(one => one.join(" ").toLowerCase().includes(words)) ? 3 : -1;
  };

  const state = row => {
    if (get(row, "erased") !== null) return ["gone", "erased"];
    if (get(row, "datasets").length) return ["good", "in a dataset"];
    if (!["ok", "imported"].includes(get(row, "class"))) return ["gone", `${get(row, "class")}: ${get(row, "kind")}`];
    const dropped = get(row, "verdicts").find(one => !one[1]);
    if (dropped) return ["gone", `dropped by ${dropped[0]}`];
    return ["", get(row, "verdicts").length ? "passed, in no dataset" : "answered, not judged yet"];
  };

  const step = (title, ...lines) => {
    const made = make("li", "", make("h4", "", title));
    for (const one of lines) if (one) made.append(one.nodeType ? one : make("p", "", one));
    return made;
  };
  const quiet = (...text) => make("p", "quiet", ...text);
  const entry = number => number === null ? "no entry" : `entry ${count(number)} of the log`;

  const lineage = row => {
    const walk = make("ol", "walk");
    const asked = get(row, "asked"), said = get(row, "said");
    walk.append(step("Seed", `${get(row, "prompt")}, sample ${get(row, "sample")}, ${get(row, "split")} split`,
      asked && make("pre", "", asked)));
    const decided = names.decisions[get(row, "decision")];
    walk.append(step("Decision",
      decided ? make("p", "", link(`decision-${get(row, "decision")}`, decided.level), ` for ${decided.offering}, ${decided.date}`)
              : "not in the ledger",
      decided && quiet(decided.clauses.join("; ")), quiet("terms ", get(row, "pin"))));
    const imported = get(row, "class") === "imported";
    if (imported) walk.append(step("Imported", get(row, "message"),
      quiet(`collected ${moment(get(row, "at"))}, brought in ${moment(get(row, "answered_at"))}, ${entry(get(row, "entry"))}`),
      quiet("declared as ", `${get(row, "model") || "a model that was not named"} of ${get(row, "offering")}`)));
    else walk.append(step("Request", `${moment(get(row, "at"))}: ${get(row, "model")} of ${get(row, "offering")}`,
      quiet(`attempt ${get(row, "attempt")}, ${entry(get(row, "entry"))}, reserved ${money(get(row, "reserve"))}`),
      quiet("request ", get(row, "key"))));
    if (get(row, "erased") !== null) {
      walk.append(step("Erased", `its content and its salt are gone, by ${entry(get(row, "erased"))}; the log still verifies`));
    } else if (get(row, "answered") === null) {
      walk.append(step("No outcome", get(row, "message"), quiet(`${money(get(row, "cost"))} stay reserved: it was perhaps billed`)));
    } else {
      const ok = imported || get(row, "class") === "ok";
      walk.append(step(ok ? "Answer" : `No answer: ${get(row, "kind")}`,
        ok ? `served by ${get(row, "served") || "a model that was not named"}, finished by ${get(row, "finish") || "nothing stated"}` : get(row, "message"),
        said && make("pre", "", said),
        !imported && quiet(`${moment(get(row, "answered_at"))}, ${entry(get(row, "answered"))}, status ${get(row, "status")}, ${count(get(row, "milliseconds"))} ms`),
        quiet(`${count(get(row, "input"))} tokens in, ${count(get(row, "output"))} out, ${money(get(row, "cost"))}`),
        get(row, "request") && quiet("provider's request ", get(row, "request"))));
    }
    const verdicts = get(row, "verdicts");
    if (verdicts.length) walk.append(step("Filters", ...verdicts.map(([name, keep, why, score, at]) =>
      make("p", "", `${keep ? "✓" : "✗"} ${name}${why ? ": " + why : ""}${score ? " (" + score + ")" : ""}, ${entry(at)}`))));
    const frozen = get(row, "datasets");
    walk.append(step("Datasets", ...(frozen.length ? frozen.map(([at, split]) =>
      make("p", "", link(`dataset-${at}`, names.datasets[at].name), ` ${split}, ${names.datasets[at].digest}`)) : ["in none"])));
    const taught = frozen.filter(([, split]) => split !== "test").map(([at]) => at);
    const students = names.students.map((one, at) => [one, at]).filter(([one]) => taught.includes(one.dataset));
    if (frozen.length) walk.append(step("Students", ...(students.length ? students.map(([one, at]) =>
      make("p", "", link(`student-${at}`, one.name), ` ${one.digest}${one.published.length ? ", published as " + one.published.join(", ") : ""}`)) :
      ["none learnt from it"])));
    return walk;
  };

  const card = row => {
    const [kind, text] = state(row);
    const made = make("details", "row", make("summary", "",
      make("b", "", `${get(row, "prompt")} · ${get(row, "sample")}`), make("span", "tag " + kind, text),
      make("span", "tag", moment(get(row, "at")))));
    made.addEventListener("toggle", () => {
      if (made.open && made.childElementCount === 1) made.append(lineage(row));
    });
    return made;
  };

  const search = async () => {
    const turn = ++asked, words = query.value.trim().toLowerCase();
    if (!words) { list.replaceChildren(); status.textContent = ""; return; }
    if (!rows) await (reading ??= read());
    if (turn !== asked) return;
    const found = rows.map(row => [rank(row, words), row]).filter(([at]) => at >= 0);
    const exact = found.filter(([at]) => at === 0);
    const chosen = (exact.length ? exact : found.sort((a, b) => a[0] - b[0])).map(([, row]) => row);
    status.textContent = chosen.length > MOST ? `${count(chosen.length)} rows, the first ${MOST} shown` :
      `${count(chosen.length)} ${chosen.length === 1 ? "row" : "rows"}`;
    list.replaceChildren(...chosen.slice(0, MOST).map(card));
    if (chosen.length === 1) list.firstChild.open = true;
  };
  const follow = () => {
    if (!location.hash.startsWith("#row=")) return;
    try { query.value = decodeURIComponent(location.hash.slice(5)); } catch { return; }
    search();
  };
  let waiting = 0;
  query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 150); });
  addEventListener("hashchange", follow);
  query.disabled = false;
  follow();
})();
