"use strict";
// The page: takes a message a second from /events and shows it. No library, no build step.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let points = [];
let events = [];
let about = {};
let latest = null;
let span = 180;
let heard = 0;

// --- text -----------------------------------------------------------------------------------------------------

const count = (n) => (n >= 1e6 ? (n / 1e6).toFixed(2) + "M" : n >= 1e4 ? (n / 1e3).toFixed(1) + "k" : String(Math.round(n)));
const rate = (n) => (n >= 1e4 ? (n / 1e3).toFixed(1) + "k" : n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n > 0 ? n.toFixed(2) : "0");
const bytes = (n) => (n === null || n === undefined ? "–" : n >= 2 ** 30 ? (n / 2 ** 30).toFixed(2) + " GiB" : (n / 2 ** 20).toFixed(n < 10 * 2 ** 20 ? 1 : 0) + " MiB");
function seconds(s) {
  if (s === null || s === undefined) return "–";
  if (s === 0) return "0";
  if (s < 0.0009995) return (s * 1e6).toFixed(0) + " µs";
  if (s < 0.1) return (s * 1e3).toFixed(s < 0.01 ? 2 : 1) + " ms";
  if (s < 1) return (s * 1e3).toFixed(0) + " ms";
  if (s < 60) return s.toFixed(s < 10 ? 2 : 0) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}
const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

// --- elements -------------------------------------------------------------------------------------------------

// Much of what is shown is a client's or a worker's words: they cannot turn the writing round, or hide in it.
const UNSAFE = /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const safe = (text) => text.replace(UNSAFE, (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"));

function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") node.className = value;
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.map((child) => (typeof child === "string" ? safe(child) : child)));
  return node;
}
function svg(tag, given) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(given)) node.setAttribute(name, value);
  return node;
}
const setText = (node, given) => {
  const text = safe(String(given));
  if (node.textContent !== text) node.textContent = text;
};

// --- header and tiles -----------------------------------------------------------------------------------------

const TONE = {
  ready: "good", filled: "good", reloaded: "good", upgraded: "good", starting: "warn", reloading: "warn", degraded: "warn", draining: "warn",
  backoff: "bad", failed: "bad", killing: "bad", died: "bad", refused: "bad", stuck: "bad",
};
const pill = (word) => el("span", { class: "pill " + (TONE[word] || "") }, word);

const LATE_S = 2;
const isStuck = (worker) => worker.state === "ready" && worker.heartbeat_age_s > LATE_S;

function load(status) {
  if (status.load !== "worker" && !status.threads.length) return "";
  const names = status.threads.join(", ");
  return status.load === "worker"
    ? ` · each worker loads the app itself${names ? ` (${names} would hang in forked ones)` : ""}`
    : ` · forked workers may hang in ${names}`;
}

function showIcon(tone) {
  const color = { good: "177a45", warn: "d98a00", bad: "c0262d" }[tone] || "64707d";
  const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#${color}"/><path d="M7 24 16 6l9 18-9-5z" fill="#fff"/></svg>`;
  const href = "data:image/svg+xml," + encodeURIComponent(picture);
  if ($("icon").getAttribute("href") !== href) $("icon").setAttribute("href", href);
}

function showHeader(status) {
  const { word, tone, why } = latest.health;
  setText($("name"), about.name || "Aeros");
  document.title = `${word} – ${about.name || "Aeros"} on ${about.host}`;
  const state = $("state");
  setText(state, word);
  state.className = "pill " + tone;
  showIcon(tone);
  $("why").hidden = !why.length;
  $("why").className = tone;
  $("why").replaceChildren(...why.map((reason) => el("li", {}, reason)));
  const stuck = status.workers.filter(isStuck).length;
  setText($("facts"), `${status.ready_workers} of ${status.target_workers} workers ready${stuck ? `, ${stuck} of them stuck` : ""} · generation ${status.generation} · host ${about.host} · pid ${status.pid} · up ${seconds(status.uptime_s)} · ${status.addresses.join(", ")}${load(status)}`);
}

function showTiles(status) {
  const recent = latest.recent;
  const queued = status.accept_queue.filter((q) => q.length !== null);
  const tiles = [
    ["Requests/s", "10 s", rate(recent.rate || 0)],
    ["p50", "10 s", seconds(recent.p50)], ["p95", "10 s", seconds(recent.p95)], ["p99", "10 s", seconds(recent.p99)],
    ["4xx/s", "10 s", rate(recent["4xx"] || 0)],
    ["5xx/s", "10 s", rate(recent["5xx"] || 0)],
    ["In flight", "now", count(status.workers.reduce((sum, w) => sum + w.in_flight, 0))],
    ["Connections", "now", count(status.workers.reduce((sum, w) => sum + w.connections, 0))],
    ["Accept queue", "now", queued.length ? count(queued.reduce((sum, q) => sum + q.length, 0)) : "–"],
    ["Memory", "now", bytes(status.pss_bytes ?? status.rss_bytes)],
    ["Requests", "since the start", count(status.totals.requests)],
    ["5xx", "since the start", count(status.totals.responses["5xx"])],
  ];
  const list = $("tiles");
  if (list.children.length !== tiles.length) list.replaceChildren(...tiles.map(([name, window]) => el("div", {}, el("dt", {}, name, el("small", {}, window)), el("dd"))));
  tiles.forEach(([, , value], index) => setText(list.children[index].children[1], value));
}

// --- plots ----------------------------------------------------------------------------------------------------

const PLOTS = [
  { title: "Requests per second", show: rate, lines: [["all", "rate"], ["4xx", "bad", 1], ["5xx", "errors", 2]], fill: true },
  { title: "Latency, logarithmic", show: seconds, log: true, lines: [["p50", "p50"], ["p95", "p95"], ["p99", "p99"]] },
  { title: "Event loop lag, worst worker", show: seconds, lines: [["lag", "lag"]], fill: true, least: 0.005 },
  { title: "Busiest event loop", show: (v) => Math.round(v * 100) + " %", lines: [["busy", "busy"]], fill: true, most: 1 },
  { title: "In flight", show: count, lines: [["requests", "in_flight"]], fill: true, least: 4, whole: true },
  { title: "Memory of all workers", show: bytes, lines: [["PSS", "memory"]], fill: true, binary: true },
];
const LEFT = 62, RIGHT = 8, TOP = 8, BOTTOM = 20;

function step(most, binary, whole) {
  // The top of the axis: 1, 2, 2.5 or 5 times a power of ten (of two for bytes), so that labels are round.
  const unit = binary ? 2 ** 20 : 1;
  const value = most / unit;
  const power = 10 ** Math.floor(Math.log10(value));
  const steps = whole && power === 1 ? [2, 4, 6, 8, 10] : whole ? [1, 2, 4, 6, 8, 10] : [1, 2, 2.5, 5, 10];  // the middle is labelled too
  return steps.map((n) => n * power).find((n) => n >= value * 0.999) * unit;
}

function decade(s) {
  const [value, unit] = s < 0.00099 ? [s * 1e6, "µs"] : s < 0.99 ? [s * 1e3, "ms"] : [s, "s"];
  return `${Math.round(value)} ${unit}`;
}

function plot(figure, spec) {
  const box = figure.querySelector("svg");
  const width = box.clientWidth || 400, height = box.clientHeight || 150;
  const end = points.length ? points[points.length - 1].at : Date.now() / 1000;
  const begin = end - span;
  const shown = points.filter((p) => p.at >= begin - 2);
  const values = shown.flatMap((p) => spec.lines.map(([, key]) => p[key] ?? 0));
  const positive = spec.log ? values.filter((value) => value > 0) : [];
  // Whole powers of ten: a p99 of a second beside a p50 of a millisecond leaves both to be read.
  const bottom = spec.log ? 10 ** Math.floor(Math.log10(positive.length ? Math.min(...positive) : 0.001)) : 0;
  const top = spec.log
    ? Math.max(bottom * 10, 10 ** Math.ceil(Math.log10(positive.length ? Math.max(...positive) : 0.1)))
    : spec.most || step(Math.max(spec.least || 0, ...values) || 1, spec.binary, spec.whole);
  const decades = spec.log ? Math.round(Math.log10(top / bottom)) : 0;
  const ticks = spec.log ? Array.from({ length: decades + 1 }, (_, index) => bottom * 10 ** index) : [0, 0.5 * top, top];
  const level = (value) => (spec.log ? Math.log10(Math.max(value, bottom) / bottom) / decades : value / top);
  const x = (at) => LEFT + ((at - begin) / span) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - Math.min(1, level(value))) * (height - TOP - BOTTOM);
  const parts = [];
  for (const value of ticks) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
    const label = svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" });
    label.textContent = spec.log ? decade(value) : value ? spec.show(value) : "0";
    parts.push(label);
  }
  for (const share of [0, 0.5, 1]) {
    const label = svg("text", { x: x(begin + span * share), y: height - 4, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" });
    label.textContent = share === 1 ? "now" : `−${seconds(span * (1 - share)).replace(" 0 s", "")}`;
    parts.push(label);
  }
  for (const event of events) {
    if (event.at > begin && event.at <= end && ["reloaded", "refused", "died", "failed"].includes(event.kind)) {
      const mark = svg("line", { class: "mark " + event.kind, x1: x(event.at), x2: x(event.at), y1: TOP, y2: height - BOTTOM });
      const title = svg("title", {});
      title.textContent = safe(`${clock(event.at)} ${event.text}`);
      mark.append(title);
      parts.push(mark);
    }
  }
  spec.lines.forEach(([, key, color], index) => {
    let path = "", area = "", from = null, last = null;
    for (const p of shown) {
      const value = p[key];
      // A second without requests has no latency, and a pause of the dashboard no figures: a gap, not a line.
      if (value === null || value === undefined || p.at < begin) { last = null; continue; }
      const joined = last !== null && p.at - last < 5;
      if (!joined && from !== null && spec.fill && !index) area += `V${y(0)}H${x(from)}Z`;
      if (!joined) { from = p.at; area += `M${x(p.at).toFixed(1)} ${y(value).toFixed(1)}`; }
      path += `${joined ? "L" : "M"}${x(p.at).toFixed(1)} ${y(value).toFixed(1)}`;
      if (joined) area += `L${x(p.at).toFixed(1)} ${y(value).toFixed(1)}`;
      else path += "h.1";
      last = p.at;
    }
    if (spec.fill && !index && from !== null) {
      const lastX = /([\d.]+) [\d.]+$/.exec(area);
      if (lastX) parts.push(svg("path", { class: "fill", d: `${area}L${lastX[1]} ${y(0)}H${x(from)}Z` }));
    }
    parts.push(svg("path", { class: `trace t${color ?? index}`, d: path }));
  });
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  box.replaceChildren(...parts);
  const at = figure.at === undefined ? shown[shown.length - 1] : shown.reduce((best, p) => (best && Math.abs(x(best.at) - figure.at) < Math.abs(x(p.at) - figure.at) ? best : p), null);
  if (figure.at !== undefined && at) box.append(svg("line", { class: "cursor", x1: x(at.at), x2: x(at.at), y1: TOP, y2: height - BOTTOM }));
  const texts = spec.lines.map(([name, key]) => `${name} ${at && at[key] !== null && at[key] !== undefined ? spec.show(at[key]) : "–"}`);
  figure.querySelectorAll(".key b").forEach((node, index) => setText(node, texts[index]));
  setText(figure.querySelector(".when"), figure.at !== undefined && at ? clock(at.at) : "");
  box.setAttribute("aria-label", `${spec.title}: ${texts.join(", ")}`);
}

function makePlots() {
  for (const spec of PLOTS) {
    const key = el("span", { class: "key" }, el("span", { class: "when" }));
    spec.lines.forEach(([, , color], index) => {
      const name = el("b");
      name.style.fontWeight = "400";
      key.append(el("span", {}, el("i", { class: `k${color ?? index}` }), name));
    });
    const figure = el("figure", { class: "plot" }, el("figcaption", {}, spec.title, key));
    const box = svg("svg", { role: "img" });
    figure.append(box);
    box.addEventListener("pointermove", (event) => { figure.at = event.offsetX; plot(figure, spec); });
    box.addEventListener("pointerleave", () => { figure.at = undefined; plot(figure, spec); });
    $("plots").append(figure);
    figure.spec = spec;
  }
}
const showPlots = () => { for (const figure of $("plots").children) plot(figure, figure.spec); };

// --- fleet ----------------------------------------------------------------------------------------------------

function card(slot, worker) {
  const stuck = worker && isStuck(worker);
  const word = stuck ? "stuck" : worker ? worker.state : slot.state;
  const tone = TONE[word] || "";
  const item = el("li", { class: "worker" + (tone ? " is-" + tone : "") });
  const who = worker ? `pid ${worker.pid} · gen ${worker.generation}` : "no worker";
  item.append(el("h3", {}, `Slot ${slot.slot}`, el("small", {}, who), pill(word)));
  if (worker) {
    const busy = el("i");
    busy.style.width = Math.round(worker.loop_busy * 100) + "%";
    item.append(el("div", { class: "busy", title: `event loop ${Math.round(worker.loop_busy * 100)} % busy` }, busy));
    const lag = stuck ? worker.heartbeat_age_s : worker.loop_lag_s;
    const rows = [
      ["Req/s, 1 s", rate(worker.rate)], ["In flight", count(worker.in_flight)],
      ["Loop lag", seconds(lag), lag > 0.25], ["Connections", count(worker.connections)],
      ["p99, 10 s", seconds(worker.recent.p99)], ["5xx, 1 min", count(worker.recent["5xx"]), worker.recent["5xx"] > 0],
      ["Memory", bytes(worker.pss_bytes ?? worker.rss_bytes)], ["CPU", worker.cpu_percent === null ? "–" : worker.cpu_percent.toFixed(0) + " %"],
      ["Up", seconds(worker.uptime_s)], ["Restarts", count(slot.restarts)],
    ];
    const list = el("dl");
    for (const [name, value, hot] of rows) list.append(el("dt", {}, name), el("dd", hot ? { class: "hot" } : {}, value));
    item.append(list);
  }
  if (stuck) item.append(el("p", {}, `Its event loop has not run for ${seconds(worker.heartbeat_age_s)}.`));
  if (slot.retry_at && !worker) item.append(el("p", {}, `Next attempt in ${seconds(Math.max(0, slot.retry_at - Date.now() / 1000))}, after ${slot.restarts} restarts.`));
  // What a reload replaced ended as it should; it has an entry below.
  if (slot.last_exit && slot.last_exit.why !== "reload") item.append(el("p", {}, `Last exit ${clock(slot.last_exit.at)}: pid ${slot.last_exit.pid}, ${slot.last_exit.how} (${slot.last_exit.why})`));
  if (about.details && worker && worker.state !== "starting") {
    const button = el("button", { type: "button", "aria-label": `Stack of slot ${slot.slot}` }, "Stack");
    button.addEventListener("click", () => showStack(slot.slot, button));
    item.append(button);
  }
  if (about.write && worker && worker.state === "ready") {
    const button = el("button", { type: "button", "aria-label": `Restart slot ${slot.slot}` }, "Restart");
    button.addEventListener("click", () => command("restart", { slot: slot.slot }, button));
    item.append(button);
  }
  return item;
}

function showFleet(status) {
  // Buttons that are being pressed, or have the focus, must stay: then the cards are as they were.
  if ($("fleet").querySelector("button:focus, button:active")) return;
  const cards = [];
  for (const slot of status.slots) {
    const workers = status.workers.filter((w) => w.slot === slot.slot);
    for (const worker of workers.length ? workers : [null]) cards.push(card(slot, worker));
  }
  for (const worker of status.workers) {
    if (!status.slots.some((slot) => slot.slot === worker.slot)) cards.push(card({ slot: worker.slot, state: "", restarts: worker.restarts, last_exit: null }, worker));
  }
  $("fleet").replaceChildren(...cards);
}

// --- requests and events --------------------------------------------------------------------------------------

function showRequests(rows) {
  const table = $("requests");
  if (!rows.length) { table.replaceChildren(el("caption", { class: "none" }, "Nothing at this moment.")); return; }
  const columns = [["Slot", "slot"], ["Age", "age_s", seconds], ["Method", "method"], ["Path", "path"], ["Stage", "stage"], ["Client", "client"]];
  const body = rows.map((row) => el("tr", {}, ...columns.map(([, key, show]) => el("td", {}, show ? show(row[key]) : String(row[key] ?? "")))));
  table.replaceChildren(el("thead", {}, el("tr", {}, ...columns.map(([name]) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...body));
}

function showRoutes({ seconds: window, rows, more }) {
  setText($("h-routes"), `Routes, last ${seconds(window).replace(" 0 s", "")}`);
  const table = $("routes");
  if (!rows.length) { table.replaceChildren(el("caption", { class: "none" }, "No request in this time.")); return; }
  const columns = [
    ["Route", (row) => (row.route ? `${row.method} ${row.route}` : "(no route)")],
    ["Requests", (row) => count(row.requests)], ["per s", (row) => rate(row.rate)],
    ["4xx", (row) => count(row["4xx"])], ["5xx", (row) => count(row["5xx"])],
    ["p50", (row) => seconds(row.p50)], ["p99", (row) => seconds(row.p99)],
  ];
  const cell = (row, [name, show], index) => el("td", { class: (index ? "num" : "") + (name === "5xx" && row["5xx"] ? " hot" : "") }, show(row));
  const body = rows.map((row) => el("tr", {}, ...columns.map((column, index) => cell(row, column, index))));
  const head = columns.map(([name], index) => el("th", { scope: "col", class: index ? "num" : "" }, name));
  table.replaceChildren(el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body));
  if (more) table.append(el("caption", { class: "none" }, `${more} routes more`));
}

function showErrors(errors) {
  $("failures").hidden = !about.details;
  const key = JSON.stringify(errors);
  if ($("errors").shown === key) return;  // what is unfolded stays
  $("errors").shown = key;
  const items = [...errors].reverse().map((error) => {
    const head = el("summary", {}, el("time", {}, clock(error.at)), el("b", {}, error.what), el("span", {}, error.text),
      el("small", {}, `${error.method} ${error.route || "(no route)"} · slot ${error.slot}${error.count > 1 ? ` · ${count(error.count)} times` : ""}`));
    return el("details", {}, head, el("pre", {}, error.traceback));
  });
  $("errors").replaceChildren(...(items.length ? items : [el("p", { class: "none" }, "None since the start.")]));
}

async function showStack(slot, button) {
  button.disabled = true;
  $("stack").slot = slot;
  setText($("h-stack"), `Slot ${slot}`);
  try {
    const said = await (await ask(`stack.json?slot=${slot}`)).json();
    setText($("frames"), said.ok ? said.text : said.why);
  } catch (error) {
    setText($("frames"), `no answer: ${error}`);
  } finally {
    button.disabled = false;
  }
  if (!$("stack").open) { button.blur(); $("stack").showModal(); }
}

let logged = null;  // the number of the last event that is shown; null: the log is not open

async function showLog() {
  if (logged === null) return;
  try {
    const said = await (await ask(logged ? `log.json?after=${logged}` : "log.json")).json();
    if (!said.ok) { setText($("log"), said.why); return; }
    const box = $("log"), atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 30;
    if (said.lines.length) {
      const text = safe(said.lines.join("\n")) + "\n";
      box.textContent = (box.textContent + text).split("\n").slice(-1000).join("\n");
      if (atEnd) box.scrollTop = box.scrollHeight;
    }
    logged = said.last;
  } catch (error) {
    // The next look may have an answer.
  }
}

function showEvents() {
  const items = [...events].reverse().map((e) => el("li", {}, el("time", {}, clock(e.at)), pill(e.kind), el("span", {}, e.text)));
  $("events").replaceChildren(...(items.length ? items : [el("p", { class: "none" }, "No reload, no exit, nothing yet.")]));
}

// --- steering -------------------------------------------------------------------------------------------------

function notice(text) {
  $("notice").hidden = !text;
  setText($("notice"), text);
}

async function command(path, body, button) {
  button.disabled = true;
  button.blur();
  try {
    const answer = await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (answer.status === 401) { showLogin("Logged in too long ago: enter the token again."); return; }
    const said = await answer.json();
    notice(said.ok ? "" : said.why + (said.traceback ? "\n" + said.traceback : ""));
  } catch (error) {
    notice(`no answer: ${error}`);
  } finally {
    button.disabled = false;
  }
}

// --- who asks -------------------------------------------------------------------------------------------------

// What the server gave for the token, for this tab and this address alone. No cookie: browsers send a cookie to every
// port of a host, so to every other server there. And no token in an address, not even behind "#": browsers write the
// address into their history before a script can take it out.
const SESSION = "aeros " + location.pathname;

function ask(path, options = {}) {
  const session = sessionStorage.getItem(SESSION);
  const headers = { ...options.headers, ...(session ? { Authorization: "Bearer " + session } : {}) };
  return fetch(path, { ...options, headers, cache: "no-store" });
}

function showLogin(why) {
  sessionStorage.removeItem(SESSION);
  $("main").hidden = $("foot").hidden = $("steer").hidden = true;
  notice(why);
  $("login").hidden = false;
  $("token").focus();
}

async function logIn(event) {
  event.preventDefault();
  const token = $("token").value.trim();
  try {
    const answer = await fetch("login", { method: "POST", headers: { Authorization: "Bearer " + token } });
    if (answer.status === 401) { showLogin("That is not this server's token."); return; }
    const said = await answer.json();
    if (!said.ok) { notice(said.why); return; }
    sessionStorage.setItem(SESSION, said.session);
  } catch (error) {
    notice(`no answer: ${error}`);
    return;
  }
  $("token").value = "";
  $("login").hidden = true;
  $("main").hidden = $("foot").hidden = false;
  notice("");
  listen();
}

async function openLink(event) {
  // A link carries no session, so its page is fetched.
  if (!sessionStorage.getItem(SESSION)) return;
  event.preventDefault();
  const answer = await ask(event.target.getAttribute("href"));
  window.open(URL.createObjectURL(new Blob([await answer.text()], { type: "text/plain" })));
}

// --- the line -------------------------------------------------------------------------------------------------

function show() {
  if (!latest) return;
  const status = latest.status;
  showHeader(status);
  showTiles(status);
  showPlots();
  showFleet(status);
  showRoutes(latest.routes);
  showErrors(latest.errors);
  showRequests(latest.requests);
  showEvents();
}

const TAKE = {
  hello(said) {
    about = said;
    points = about.points;
    $("steer").hidden = !about.write;
    $("logs").hidden = !about.details;
    const links = ["status.json", "metrics", "healthz", "readyz"].map((name) => el("a", { href: name }, name));
    for (const link of links) link.addEventListener("click", openLink);
    $("foot").replaceChildren(`Aeros ${about.version} · `, ...links);
  },
  now(said) {
    heard = Date.now();
    latest = said;
    events = latest.events;
    const point = latest.point;
    if (point && (!points.length || point.at > points[points.length - 1].at)) points.push(point);
    while (points.length > 600) points.shift();
    show();
  },
};

let line = null;  // what ends the stream of events that is read

async function read(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = "", part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [kind, data] = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      TAKE[kind.slice("event: ".length)](JSON.parse(data.slice("data: ".length)));
    }
  }
}

async function listen() {
  // Not an EventSource, which cannot send the session.
  line = new AbortController();
  heard = Date.now();
  try {
    const answer = await ask("events", { signal: line.signal });
    if (answer.status === 401) {
      showLogin(sessionStorage.getItem(SESSION) ? "Logged in too long ago: enter the token again." : "");
      return;
    }
    if (answer.ok) await read(answer);
  } catch (error) {
    // As when it ends: the server may be back in a moment.
  }
  setTimeout(listen, 2000);
}

setInterval(() => {
  const stale = $("login").hidden && Date.now() - heard > 4000;
  document.body.classList.toggle("stale", stale);
  if (stale) { setText($("state"), "no connection"); $("state").className = "pill bad"; }
  if (!$("login").hidden) { setText($("state"), "token needed"); $("state").className = "pill warn"; }
  if (stale && Date.now() - heard > 10000) line.abort();  // nothing comes and nothing ends: the network is gone
}, 1000);
for (const button of $("span").children) {
  button.addEventListener("click", () => {
    span = Number(button.dataset.span);
    for (const other of $("span").children) other.setAttribute("aria-pressed", String(other === button));
    showPlots();
  });
}
$("reload").addEventListener("click", () => command("reload", {}, $("reload")));
$("more").addEventListener("click", () => command("scale", { workers: latest.status.target_workers + 1 }, $("more")));
$("fewer").addEventListener("click", () => command("scale", { workers: Math.max(1, latest.status.target_workers - 1) }, $("fewer")));
$("tail").addEventListener("click", () => {
  const open = logged === null;
  logged = open ? 0 : null;
  $("log").hidden = !open;
  setText($("log"), "");
  setText($("tail"), open ? "Hide" : "Show");
  $("tail").setAttribute("aria-pressed", String(open));
  showLog();
});
setInterval(showLog, 2000);
$("again").addEventListener("click", () => showStack($("stack").slot, $("again")));
$("close").addEventListener("click", () => $("stack").close());
new ResizeObserver(showPlots).observe($("plots"));
$("login").addEventListener("submit", logIn);
makePlots();
listen();
