"use strict";
// Asks for the state once a second and draws it. Everything that comes from the app is text, never markup.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PERIOD = 1000, WINDOW = 60, RECENT = 10, KEPT_POLLS = 30;
const seen = { polls: [], rows: new Map(), open: null, paused: false, settings: "", last: null };

/* ---- making elements ---- */
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "width%") element.style.width = `${Math.max(0, Math.min(100, value))}%`;
    else if (name === "left%") element.style.left = `${Math.max(0, Math.min(100, value))}%`;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
function s(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const chip = (tone, icon, text) => h("span", { class: "chip", "data-tone": tone }, h("span", { "aria-hidden": "true" }, icon), text);
const meter = (share, tone, label) =>
  h("span", { class: "meter", role: "img", "aria-label": label }, h("i", { "width%": share * 100, "data-tone": tone }));
const empty = (text) => h("p", { class: "empty" }, text);

/* ---- numbers in words ---- */
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
function seconds(value) {
  if (!known(value)) return "–";
  if (value === 0) return "0 ms";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 0.01) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${(value * 1000).toFixed(0)} ms`;
  return value < 100 ? `${value.toFixed(2)} s` : `${value.toFixed(0)} s`;
}
function number(value) {
  if (!known(value)) return "–";
  if (Math.abs(value) >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (Math.abs(value) >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(Math.abs(value) < 10 ? 1 : 0);
}
const percent = (share) => (known(share) ? `${(share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %` : "–");
const bytes = (value) => (value < 1024 ? `${value} B` : value < 1048576 ? `${(value / 1024).toFixed(1)} KiB` : `${(value / 1048576).toFixed(1)} MiB`);
const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });
const words = (name) => String(name).replaceAll("_", " ");
const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

/* ---- what the seconds of the history say ---- */
function history(state) {
  const at = Object.fromEntries(state.history.columns.map((name, index) => [name, index]));
  const bySecond = new Map(state.history.points.map((point) => [point[0], point]));
  const end = state.history.points.length ? state.history.points.at(-1)[0] : Math.floor(state.time);
  const points = [];
  for (let second = end - 119; second <= end; second++) points.push(bySecond.get(second) || null);
  const column = (name) => points.map((point) => (point ? point[at[name]] : 0));
  const sum = (name, over) => column(name).slice(-over).reduce((a, b) => a + b, 0);
  const covered = (over) => Math.max(1, points.slice(-over).filter(Boolean).length);
  return { column, sum, covered };
}

function sparkline(values, options) {
  const width = 120, height = 34, top = Math.max(...values, (options && options.least) || 0) || 1;
  const at = (value, index) => `${((index / (values.length - 1)) * width).toFixed(1)},${(height - 2 - (value / top) * (height - 6)).toFixed(1)}`;
  const line = values.map(at).join(" ");
  return s("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true", class: (options && options.class) || "" },
    s("polygon", { class: "spark-area", points: `0,${height} ${line} ${width},${height}` }),
    s("polyline", { class: "spark-line", points: line }));
}

/* ---- the panels ---- */
const BREAKER = {
  active: ["ok", "●", "active"], disabled: ["bad", "■", "disabled"],
  half_open: ["warn", "◐", "half open"], ramping: ["warn", "▲", "ramping"],
};

function headline(state) {
  const switches = state.switches;
  if (state.problem) return ["bad", "■", "cannot start · legacy answers"];
  if (!switches.enabled) return ["idle", "○", "pool off · legacy answers"];
  if (switches.emergency) return ["bad", "■", "emergency mode · legacy answers"];
  if (switches.disable_pool) return ["warn", "■", "pool closed · legacy answers"];
  if (switches.force_legacy) return ["warn", "■", "legacy forced"];
  if (state.breaker.state === "disabled") return ["bad", "■", "breaker open · legacy answers"];
  if (state.breaker.state !== "active") return ["warn", "◐", `pool coming back · ${words(state.breaker.state)}`];
  return ["ok", "●", `pool on · ${state.canary.percent} % of the keys`];
}

function warnings(state) {
  const found = [];
  if (state.problem) found.push(["bad", state.problem]);
  if (state.rollout && state.rollout.problem) found.push(["bad", state.rollout.problem]);
  if (state.rollout && state.rollout.phase === "rolled_back") found.push(["bad", "the canary was rolled back; it stays so until an operator starts anew"]);
  if (state.loop.standing_at) found.push(["bad", `the event loop stands still now, at ${state.loop.standing_at}`]);
  const live = state.nodes.filter((node) => "up" in node);
  if (live.length && live.every((node) => !node.up)) found.push(["bad", "no node is up"]);
  for (const node of live) if (!node.up) found.push(["warn", `node ${node.name} is ${node.drained ? "drained" : `off for ${seconds(node.off_for)}`}`]);
  if (state.metrics.observer_failures) found.push(["warn", `${state.metrics.observer_failures} failures of observers; see the log`]);
  const breakers = new Set(state.workers.map((worker) => worker.breaker));
  if (breakers.size > 1) found.push(["warn", `the workers' breakers differ: ${[...breakers].map(words).join(", ")}`]);
  const percents = new Set(state.workers.map((worker) => worker.percent));
  if (percents.size > 1) found.push(["warn", `the workers' percents differ: ${[...percents].join(", ")}`]);
  return found;
}

function drawHead(state) {
  const [tone, icon, text] = headline(state);
  const pill = $("state");
  if (pill.textContent !== icon + text) pill.replaceChildren(h("span", { "aria-hidden": "true" }, icon), text);
  pill.dataset.tone = tone;
  const workers = state.workers.length;
  $("facts").textContent = [workers > 1 ? `${workers} workers, asked ${state.pid}` : `worker ${state.pid}`, `phase1 ${state.version}`,
    state.system_status.legacy_client_exists ? "a legacy client stands by" : "no legacy client"].join(" · ");
  const list = warnings(state);
  $("warnings").hidden = !list.length;
  $("warnings").replaceChildren(...list.map(([level, message]) => h("li", { "data-tone": level }, level === "bad" ? "■ " : "▲ ", message)));
  $("about").textContent = `${state.schema}, ${clock(state.time)}`;
}

function tile(name, value, unit, sub, values, hue, least) {
  return h("div", { class: "tile", "data-hue": hue }, h("span", { class: "name" }, name),
    h("span", { class: "value" }, value, unit ? h("small", {}, ` ${unit}`) : ""), h("span", { class: "sub" }, sub), sparkline(values, { least }));
}

function drawTiles(state) {
  const past = history(state), metrics = state.metrics, over = past.covered(RECENT), overAll = past.covered(WINDOW);
  const finished = past.sum("finished", WINDOW), failed = past.sum("failed", WINDOW);
  const each = past.column("finished").map((count, index) => (count ? past.column("seconds")[index] / count : 0));
  const mean = finished ? past.sum("seconds", WINDOW) / finished : null;
  const wrong = finished ? failed / finished : null;
  const pool = metrics.seconds.pool.count ? metrics.seconds.pool : metrics.seconds.legacy;
  const perMinute = (name) => (past.sum(name, WINDOW) / overAll) * 60;
  const busy = state.pool.capacity ? metrics.in_flight / state.pool.capacity : 0;
  $("tiles").replaceChildren(
    tile("LLM calls", number(past.sum("finished", RECENT) / over), "/s", `${number(metrics.finished)} since the start`, past.column("finished")),
    tile("Mean", ...split(seconds(mean)), `p50 ${seconds(pool.p50)}`, each),
    tile("p95", ...split(seconds(pool.p95)), `p99 ${seconds(pool.p99)}`, each),
    tile("Errors", ...split(percent(wrong)), `${number(failed)} in the last minute`, past.column("failed"), "bad", 3),
    tile("In flight", number(metrics.in_flight + metrics.legacy_in_flight), state.pool.capacity ? `of ${state.pool.capacity}` : "",
      metrics.legacy_in_flight ? `${metrics.legacy_in_flight} of them in legacy` : `${percent(busy)} of the pool`, past.column("in_flight"), busy > 0.85 ? "warn" : null),
    tile("Queue", number(metrics.waiting), "waiting", `p95 ${seconds(metrics.seconds.queue.p95)}`, past.column("waiting"), metrics.waiting ? "warn" : null, 3),
    tile("Tokens", number(perMinute("tokens")), "/min", `${number(metrics.tokens)} since the start`, past.column("tokens")),
    tile("Fallbacks", number(past.sum("fell_back", WINDOW)), "/min", `${number(total(metrics.fallbacks))} since the start`, past.column("fell_back"), "bad", 3),
  );
}
function split(text) {
  const space = text.lastIndexOf(" ");
  return space < 0 ? [text, ""] : [text.slice(0, space), text.slice(space + 1)];
}

/* Counts of the last seconds where there were some, else since the start. */
function shares(state) {
  const past = history(state);
  let pool = past.sum("pool", WINDOW), legacy = past.sum("legacy", WINDOW), back = past.sum("fell_back", WINDOW), when = "the last minute";
  if (!pool && !legacy) {
    when = "since the start";
    for (const row of state.metrics.routes) row.route === "pool" ? (pool += row.count) : (legacy += row.count);
    back = total(state.metrics.fallbacks);
  }
  return { pool, legacy, back: Math.min(back, pool), when };
}
function attemptsOf(state) {
  const before = seen.polls[0], now = Object.fromEntries(state.nodes.map((node) => [node.name, node.stats.attempts]));
  const recent = Object.fromEntries(state.nodes.map((node) => [node.name, before ? Math.max(0, now[node.name] - (before.attempts[node.name] || 0)) : 0]));
  const elapsed = before ? Math.max(0.5, state.time - before.time) : null;
  return { counts: total(recent) ? recent : now, recent, elapsed };
}

function drawFlow(state) {
  const box = $("flow"), width = Math.max(300, box.clientWidth), narrow = width < 620;
  const { pool, legacy, back, when } = shares(state), all = pool + legacy;
  const nodes = state.nodes.slice(0, 8), { counts } = attemptsOf(state), asked = total(counts) || 1;
  const rowHeight = 46, top = 22, poolHeight = Math.max(1, nodes.length) * rowHeight, legacyY = top + poolHeight + 34, height = legacyY + 44;
  const label = narrow ? 92 : 190, x = { split: narrow ? 74 : 150, gate: narrow ? (width - label) * 0.56 : width * 0.5, end: width - label };
  const middle = top + poolHeight / 2, thick = 40, share = (count) => (all ? count / all : 0);
  const poolBand = Math.max(all ? 2 : 6, thick * share(pool)), legacyBand = Math.max(all ? 2 : 6, thick * share(legacy)), backBand = all && back ? Math.max(2, thick * share(back)) : 0;
  const start = middle + 14 - (poolBand + legacyBand) / 2;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": `${percent(share(pool))} of the app requests go to the pool, ${percent(share(legacy))} to legacy; ${back} fell back` });
  const band = (kind, x1, y1, x2, y2, t1, t2) => {
    const m = (x1 + x2) / 2;
    svg.append(s("path", { class: `band-${kind}`, d: `M${x1},${y1}C${m},${y1} ${m},${y2} ${x2},${y2}L${x2},${y2 + t2}C${m},${y2 + t2} ${m},${y1 + t1} ${x1},${y1 + t1}Z` }));
  };
  const text = (x0, y0, content, extra) => svg.append(s("text", { x: x0, y: y0, ...extra }, content));
  const stop = (x0, y0, high, kind) => svg.append(s("rect", { class: `stop stop-${kind}`, x: x0 - 3, y: y0, width: 6, height: Math.max(6, high), rx: 3 }));
  const to = all ? (kind, count) => (count ? kind : "none") : () => "none";
  // requests → split → gate → nodes
  band(to("pool", pool), 6, start, x.split, start, poolBand, poolBand);
  band(to("legacy", legacy), 6, start + poolBand, x.split, start + poolBand, legacyBand, legacyBand);
  const gateY = middle - poolBand / 2;
  band(to("pool", pool), x.split, start, x.gate, gateY, poolBand, poolBand);
  band(to("legacy", legacy), x.split, start + poolBand, x.end, legacyY + 8, legacyBand, legacyBand);
  if (backBand) band("back", x.gate, gateY + poolBand - backBand, x.end, legacyY + 8 + legacyBand, backBand, backBand);
  let from = gateY;
  nodes.forEach((node, index) => {
    const part = (counts[node.name] || 0) / asked, thickness = Math.max(1.5, poolBand * part), y = top + index * rowHeight + rowHeight / 2;
    band(to("pool", pool && counts[node.name]), x.gate, from, x.end, y - thickness / 2, poolBand * part, thickness);
    from += poolBand * part;
    stop(x.end, y - 11, 22, "up" in node ? (node.up ? "ok" : node.drained ? "warn" : "bad") : "idle");
    text(x.end + 10, y - 2, narrow && node.name.length > 11 ? `${node.name.slice(0, 10)}…` : node.name, { class: "strong" });
    text(x.end + 10, y + 13, `${percent(total(counts) ? part : null)}${"up" in node ? (node.up ? (narrow ? "" : ` · ● up · ${node.in_flight} in flight`) : node.drained ? " ■ drained" : " ■ off") : " ○ idle"}`, { class: "dim" });
  });
  if (!nodes.length) text(x.end + 10, middle + 4, "no node", { class: "dim" });
  stop(6, start - 4, poolBand + legacyBand + 8, "idle");
  stop(x.split, start - 4, poolBand + legacyBand + 8, "pool");
  const [tone, icon, name] = BREAKER[state.breaker.state] || ["idle", "○", state.breaker.state];
  stop(x.gate, gateY - 8, poolBand + 16, tone);
  stop(x.end, legacyY, Math.max(26, legacyBand + backBand + 16), "legacy");
  text(0, start - 12, narrow ? "requests" : "app requests", { class: "dim" });
  text(x.split, start - 12, narrow ? `${state.canary.percent} %` : `canary ${state.canary.percent} %`, { "text-anchor": "middle", class: "strong" });
  text(x.gate, gateY - 16, narrow ? `${icon} ${name}` : `${icon} breaker ${name}`, { "text-anchor": "middle", class: "strong" });
  text(x.end + 10, legacyY + 12, narrow ? "legacy" : "legacy client", { class: "strong" });
  text(x.end + 10, legacyY + 27, `${percent(all ? share(legacy) : null)}${back ? ` · ${back} back` : ""}`, { class: "dim" });
  box.replaceChildren(svg);
  const reasons = state.metrics.routes.filter((row) => row.route === "legacy" && row.count).sort((a, b) => b.count - a.count).slice(0, 3);
  $("flow-note").textContent = (all ? `${number(pool)} app requests to the pool, ${number(legacy)} to legacy, ${number(back)} fell back (${when})` : "no app request has asked for an LLM yet")
    + (reasons.length ? `; to legacy because of ${reasons.map((row) => `${words(row.reason)} (${number(row.count)})`).join(", ")}` : "");
}

function nodeState(node) {
  if (!("up" in node)) return chip("idle", "○", "not open");
  if (node.drained) return chip("warn", "■", "drained");
  if (!node.up) return chip("bad", "■", `off, ${seconds(node.off_for)} left`);
  if (node.state && node.state !== "up") return chip("warn", "◐", node.state);
  if (node.cooling_for) return chip("warn", "◐", `rests ${seconds(node.cooling_for)}`);
  return chip("ok", "●", "up");
}
function drawNodes(state) {
  if (!state.nodes.length) return $("nodes").replaceChildren(empty("No node: the pool is off."));
  const { recent, elapsed } = attemptsOf(state);
  const rows = state.nodes.map((node) => {
    const stats = node.stats, share = node.capacity ? node.in_flight / node.capacity : 0, last = stats.last_error;
    const remaining = node.remaining ? Object.entries(node.remaining).map(([what, left]) => `${number(left)} ${what}`).join(", ") : null;
    return h("tr", {},
      h("td", { class: "full" }, h("div", { class: "name-of" }, node.name), h("div", { class: "sub-of" }, `${node.base_url}${node.region ? ` · ${node.region}` : ""}`)),
      h("td", { "data-label": "state" }, nodeState(node)),
      h("td", { "data-label": "in flight" }, "in_flight" in node ? `${node.in_flight} / ${node.capacity}` : "–", meter(share, share > 0.85 ? "warn" : null, `${percent(share)} of the places`)),
      h("td", { "data-label": "attempts/s", class: "num" }, elapsed ? number(recent[node.name] / elapsed) : "–"),
      h("td", { "data-label": "success", class: "num" }, stats.attempts ? percent(stats.ok / stats.attempts) : "–"),
      h("td", { "data-label": "p95", class: "num" }, seconds(stats.seconds.p95)),
      h("td", { "data-label": "429", class: "num" }, number(stats.rate_limited)),
      remaining ? h("td", { "data-label": "quota left" }, remaining) : null,
      h("td", { "data-label": "last error", class: "full" }, last ? h("span", {}, words(last.kind), last.status ? ` ${last.status}` : "", h("span", { class: "sub-of" }, ` ${clock(last.time)}`)) : h("span", { class: "sub-of" }, "none")));
  });
  const quota = state.nodes.some((node) => node.remaining);
  const heads = ["node", "state", "in flight / limit", "attempts/s", "success", "p95", "429", ...(quota ? ["quota left"] : []), "last error"];
  $("nodes").replaceChildren(h("table", { class: "cards" },
    h("thead", {}, h("tr", {}, heads.map((name, index) => h("th", { scope: "col", class: index > 2 && index < 7 ? "num" : null }, name)))), h("tbody", {}, rows)));
}

function drawLatency(state) {
  const all = state.metrics.seconds, longest = Math.max(...Object.values(all).map((one) => one.p99 || 0)) || 1;
  const rows = [["pool", "pool", null], ["legacy", "legacy", "legacy"], ["queue", "queue", "warn"]].map(([name, title, tone]) => h("tr", {},
    h("th", { scope: "row" }, title, meter((all[name].p95 || 0) / longest, tone, `p95 ${seconds(all[name].p95)}`)),
    ...["mean", "p50", "p95", "p99"].map((share) => h("td", { class: "num" }, seconds(all[name][share])))));
  $("latency").replaceChildren(h("table", { class: "latency" }, h("thead", {}, h("tr", {}, ["", "mean", "p50", "p95", "p99"].map((name) => h(name ? "th" : "td", { scope: name ? "col" : null, class: name ? "num" : null }, name)))), h("tbody", {}, rows)));
}

const NOBODYS_FAULT = new Set(["caller_error", "context_length", "content_filter", "cancelled"]);
function stacked(parts) {
  const all = parts.reduce((sum, part) => sum + part.count, 0);
  return [
    h("div", { class: "stack", "aria-hidden": "true" }, parts.filter((part) => part.count).map((part) => h("i", { class: `s-${part.tone}`, "width%": (part.count / all) * 100 }))),
    h("div", { class: "legend" }, parts.filter((part) => part.count).flatMap((part) => [
      h("i", { class: `s-${part.tone}`, "aria-hidden": "true" }), h("span", {}, part.name), h("span", { class: "num" }, part.text || number(part.count)), h("span", { class: "num dim" }, percent(part.count / all))])),
  ];
}
function drawOutcomes(state) {
  const parts = Object.entries(state.metrics.calls).sort((a, b) => b[1] - a[1])
    .map(([kind, count]) => ({ name: `pool: ${words(kind)}`, count, tone: kind === "ok" ? "ok" : NOBODYS_FAULT.has(kind) ? "idle" : kind === "rate_limit" || kind === "refused" ? "warn" : "bad" }));
  for (const [result, count] of Object.entries(state.metrics.legacy_calls)) parts.push({ name: `legacy: ${result}`, count, tone: result === "ok" ? "legacy" : "bad" });
  $("outcomes").replaceChildren(...(parts.length ? stacked(parts) : [empty("No call yet.")]));
}

function drawBreaker(state) {
  const breaker = state.breaker, threshold = state.settings.LLM_FAILURE_THRESHOLD.value, after = [];
  const pairs = [["failures in a row", `${breaker.consecutive_failures} of ${threshold}`], ["last minute", breaker.window.requests ? `${percent(breaker.window.success_rate)} of ${breaker.window.requests} succeeded` : "no request"]];
  if (breaker.until_in) pairs.push(["next step in", seconds(breaker.until_in)]);
  if (breaker.state === "ramping") pairs.push(["admitted", percent(breaker.ramp)]);
  if (breaker.mode !== "automatic") pairs.push(["mode", words(breaker.mode)]);
  pairs.push(["opened so often", number(state.metrics.breaker_transitions.disabled || 0)], ["generation", String(breaker.generation)]);
  const states = Object.entries(BREAKER).map(([name, [tone, icon, title]]) =>
    h("span", { class: "chip", "data-tone": tone, "aria-current": name === breaker.state ? "true" : null }, h("span", { "aria-hidden": "true" }, icon), title));
  $("breaker").replaceChildren(h("div", { class: "states" }, states), h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])), ...after);
}

function drawQueue(state) {
  const metrics = state.metrics, retries = state.nodes.reduce((sum, node) => sum + node.stats.retries + node.stats.hedges, 0), attempts = state.nodes.reduce((sum, node) => sum + node.stats.attempts, 0);
  const counted = (counts) => Object.entries(counts).map(([reason, count]) => `${reason} ${number(count)}`).join(", ");
  const refused = counted(metrics.rejections);
  const size = state.settings.LLM_QUEUE_SIZE.value;
  const pairs = [
    ["places taken", h("span", {}, `${metrics.in_flight} of ${metrics.capacity}`, meter(metrics.capacity ? metrics.in_flight / metrics.capacity : 0, null, ""))],
    ["waiting", h("span", {}, `${metrics.waiting} of ${number(size)}`, meter(size ? metrics.waiting / size : 0, "warn", ""))],
    ["refused", refused || "none"],
    ["retries, hedges", `${number(retries)}${attempts > retries ? `, ${(attempts / (attempts - retries)).toFixed(2)} attempts per call` : ""}`],
    ["retry budget used up", metrics.retry_budget_exhausted ? `${number(metrics.retry_budget_exhausted)} times` : "never"],
    ["hedged", counted(metrics.hedges)],
    ["cache", counted(metrics.cache)],
    ["broken streams", counted(metrics.broken_streams)],
    ["abandoned by clients", metrics.abandoned ? number(metrics.abandoned) : ""],
  ].filter(([, value]) => value !== "");
  $("queue").replaceChildren(h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function drawLoop(state) {
  const past = history(state), lags = past.column("lag"), sites = Object.entries(state.metrics.blocking_sites).sort((a, b) => (state.loop.stalled_seconds[b[0]] || 0) - (state.loop.stalled_seconds[a[0]] || 0)).slice(0, 12);
  const worst = Math.max(...lags.slice(-WINDOW));
  const body = [h("dl", {}, h("dt", {}, "late by"), h("dd", {}, `${seconds(state.loop.lag)}, at most ${seconds(worst)} in the last minute`)), Object.assign(sparkline(lags, { least: 0.05, class: `wide-spark${worst > 0.1 ? " spark-bad" : ""}` }))];
  if (sites.length) body.push(h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["line of the app", "times", "seconds"].map((name, index) => h("th", { scope: "col", class: index ? "num" : null }, name)))),
    h("tbody", {}, sites.map(([site, count]) => h("tr", {}, h("td", { class: "mono" }, site), h("td", { class: "num" }, number(count)), h("td", { class: "num" }, state.loop.stalled_seconds[site] ? state.loop.stalled_seconds[site].toFixed(2) : "–")))))));
  else body.push(empty("● No line has blocked it for a tenth of a second."));
  $("loop").replaceChildren(...body);
}

function drawStages(state) {
  const stages = state.stages, all = stages.total.seconds, count = stages.total.count;
  if (!count) return $("stages").replaceChildren(empty("Nothing measured yet. phase1.stage(\"db_fetch\") counts the database's share."));
  const named = stages.db_fetch.seconds + stages.llm_response.seconds + stages.db_save.seconds;
  const part = (name, value, tone) => ({ name, count: value, tone, text: seconds(value / count) });
  $("stages").replaceChildren(...stacked([part("database, reading", stages.db_fetch.seconds, "warn"), part("LLM", stages.llm_response.seconds, "pool"), part("database, writing", stages.db_save.seconds, "legacy"), part("everything else", Math.max(0, all - named), "idle")]),
    h("p", { class: "note" }, `${seconds(all / count)} on average, of ${number(count)} app requests`));
}

/* ---- the flight recorder: a finished call never changes, so each row is made once ---- */
function callTone(call) { return call.outcome === "ok" ? "ok" : NOBODYS_FAULT.has(call.outcome) ? "idle" : call.fell_back ? "warn" : "bad"; }
function track(call) {
  const bar = h("span", { class: "track", "aria-hidden": "true" }), all = call.seconds;
  const piece = (kind, from, length) => {  // in seconds: the list knows what the longest call took
    const part = h("i", { class: kind });
    part.style.setProperty("--from", from);
    part.style.setProperty("--long", length);
    bar.append(part);
  };
  if (call.route === "legacy") piece("s-legacy", 0, all);
  else {
    if (call.clocks.queue > all * 0.01) piece("wait", 0, call.clocks.queue);
    for (const attempt of call.attempts) piece(attempt.outcome === "ok" ? "s-pool" : "s-bad", attempt.at, attempt.seconds);
    if (call.streamed && call.clocks.first !== null) piece("s-ok", call.clocks.first, all - call.clocks.first);
  }
  return bar;
}
function detail(call) {
  if (call.route === "legacy") return [h("p", {}, call.error ? `The legacy client raised ${call.error}.` : "The legacy client answered.")];
  const pairs = [["id", call.id], ["path", call.path], ["waited for a place", seconds(call.clocks.queue)], [call.streamed ? "first content after" : "answer after", seconds(call.clocks.first)], ["over after", seconds(call.seconds)],
    ["bytes", `${bytes(call.bytes.sent)} sent, ${bytes(call.bytes.received)} received`], ["tokens", call.tokens.input === null && call.tokens.output === null ? "not counted" : `${number(call.tokens.input)} in, ${number(call.tokens.output)} out`], ["event loop late by", seconds(call.loop_lag)]];
  if (call.streamed) pairs.push(["chunks", number(call.chunks)]);
  if (call.error) pairs.push(["error", call.error]);
  if (call.fell_back) pairs.push(["fell back", "the legacy client answered instead"]);
  const skipped = (attempt) => Object.entries(attempt.skipped).map(([name, why]) => `${name} (${why})`).join(", ") || "–";
  return [h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    call.attempts.length ? h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["attempt at", "began", "took", "outcome", "not asked"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, call.attempts.map((attempt) => h("tr", {}, h("td", {}, attempt.node), h("td", {}, `+${seconds(attempt.at)}`), h("td", {}, seconds(attempt.seconds)), h("td", {}, `${words(attempt.outcome)}${attempt.status ? ` ${attempt.status}` : ""}`), h("td", {}, skipped(attempt))))))) : h("p", { class: "sub-of" }, "Nothing was sent.")];
}
function row(call) {
  const body = h("div", { class: "detail", hidden: true });
  const icon = { ok: "●", idle: "○", warn: "◐", bad: "■" }[callTone(call)];
  const what = call.route === "legacy" ? (call.error ? "legacy error" : "legacy") : words(call.outcome) + (call.status && call.outcome !== "ok" ? ` ${call.status}` : "");
  const button = h("button", { type: "button", "aria-expanded": "false" }, h("span", { class: "when" }, clock(call.time)), h("span", {}, chip(call.route === "legacy" && !call.error ? "legacy" : callTone(call), icon, what)),
    h("span", { class: "model" }, call.route === "legacy" ? "own client" : `${call.model || "–"}${call.streamed ? " · stream" : ""}`), track(call), h("span", { class: "took" }, seconds(call.seconds)));
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    if (open && !body.childElementCount) body.replaceChildren(...detail(call));
    button.setAttribute("aria-expanded", String(open));
    body.hidden = !open;
  });
  return h("li", { class: "call" }, button, body);
}
function drawRequests(calls) {
  const list = $("requests");
  if (!calls.length) return list.replaceChildren(h("li", {}, empty("No call yet.")));
  list.style.setProperty("--longest", Math.max(...calls.map((call) => call.seconds)) || 1);
  const wanted = new Set(calls.map((call) => call.id));
  for (const [id, entry] of seen.rows) if (!wanted.has(id) && !entry.element.contains(document.activeElement)) { entry.element.remove(); seen.rows.delete(id); }
  for (const call of calls) {
    const mark = `${call.id} ${call.fell_back}`, old = seen.rows.get(call.id);
    if (old && old.mark !== mark) { const fresh = row(call); old.element.replaceWith(fresh); seen.rows.set(call.id, { mark, element: fresh }); }
    else if (!old) seen.rows.set(call.id, { mark, element: row(call) });
  }
  list.querySelectorAll("li:not(.call)").forEach((note) => note.remove());
  let next = list.firstElementChild;
  for (const call of calls) {
    const element = seen.rows.get(call.id).element;
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
}

function drawErrors(state) {
  if (!state.errors.length) return $("errors").replaceChildren(empty("● None."));
  $("errors").replaceChildren(h("table", { class: "cards" }, h("thead", {}, h("tr", {}, ["when", "node", "what", "status", "upstream's request id"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, state.errors.slice(0, 50).map((error) => h("tr", {}, h("td", { "data-label": "when" }, clock(error.time)), h("td", { "data-label": "node" }, error.node), h("td", { "data-label": "what" }, words(error.kind)), h("td", { "data-label": "status" }, error.status ? String(error.status) : "–"), h("td", { class: "mono full", "data-label": "request id" }, error.request_id || "–"))))));
}

function drawWorkers(state) {
  $("p-workers").hidden = state.workers.length < 2;
  $("workers").replaceChildren(h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["pid", "mode", "breaker", "percent", "in flight", "waiting", "calls", "failed", "loop late by"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, state.workers.map((worker) => h("tr", {}, [String(worker.pid), words(worker.mode), words(worker.breaker), `${worker.percent} %`, number(worker.in_flight), number(worker.waiting), number(worker.finished), number(worker.failed), seconds(worker.lag)].map((value) => h("td", {}, value))))))));
}

const PHASE = { idle: ["idle", "○"], progressing: ["ok", "●"], paused: ["warn", "◐"], inconclusive: ["warn", "▲"], promoted: ["ok", "●"], rolled_back: ["bad", "■"], aborted: ["bad", "■"] };
const place = (there) => `${there.percent === null ? "the settings' percent" : `${there.percent} %`}, ${words(there.phase)}${there.kill ? ", kill switch" : ""}`;
function drawRollout(state) {
  const rollout = state.rollout;
  $("p-rollout").hidden = !rollout;
  if (!rollout) return;
  const [tone, icon] = PHASE[rollout.phase] || ["idle", "○"], evidence = rollout.evidence, pairs = [];
  const steps = rollout.steps.map((step) => h("span", { class: "chip", "data-tone": tone, "aria-current": step.here ? "true" : null }, `${step.percent} %`));
  pairs.push(["phase", chip(tone, icon, words(rollout.phase))], ["percent", `${rollout.percent} %`], ["kill switch", rollout.kill ? chip("bad", "■", "on") : "off"]);
  if (rollout.reason && rollout.phase !== "idle") pairs.push(["last look", rollout.reason]);
  pairs.push(["state", `${rollout.generation} of ${rollout.store}, heard ${seconds(rollout.age)} ago`]);
  if (rollout.problem) pairs.push(["problem", chip("bad", "■", rollout.problem)]);
  if (!rollout.automatic) pairs.push(["by itself", "no: LLM_AUTO_ROLLOUT is not true"]);
  if (evidence) pairs.push(["canary", `${number(evidence.n)} calls, ${number(evidence.failures.canary)} failed`], ["control", `${number(evidence.control_n)} calls, ${number(evidence.failures.control)} failed`]);
  const table = (names, rows) => h("div", { class: "scroll" }, h("table", { class: "cards" }, h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value, index) => h("td", { "data-label": names[index] }, value)))))));
  const metrics = evidence ? Object.keys(evidence.log_e) : [], decides = evidence ? evidence.threshold.toFixed(2) : "";
  $("rollout").replaceChildren(h("div", { class: "states" }, steps), h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    ...(metrics.length ? [table(["metric", "log e: worse", "log e: not worse", "decides"], metrics.map((name) => [name, evidence.log_e[name].toFixed(2), evidence.log_e_promote[name].toFixed(2), decides]))] : []),
    ...(rollout.history.length ? [table(["when", "state", "by", "from", "to", "why"], rollout.history.map((entry) => [clock(entry.time), String(entry.generation), entry.actor, place(entry.from), place(entry.to), entry.reason]))] : []));
}

function drawShadow(state) {
  const shadow = state.shadow;
  $("p-shadow").hidden = !shadow;
  if (!shadow) return;
  const dropped = Object.entries(shadow.dropped).map(([reason, count]) => `${words(reason)} ${number(count)}`).join(", "), money = shadow.money, like = shadow.similarity;
  const mean = (side) => shadow.seconds[side].count ? seconds(shadow.seconds[side].sum / shadow.seconds[side].count) : "–";
  const pairs = [["copied", `${shadow.percent} % of the legacy calls`], ["sampled", number(shadow.sampled)], ["compared", number(shadow.compared)], ["dropped", dropped || "none"], ["under way", number(shadow.in_flight)],
    ["words in common", like.count ? percent(like.sum / like.count) : "–"], ["mean time, legacy / pool", `${mean("legacy")} / ${mean("pool")}`], ["tokens out, legacy / pool", `${number(shadow.tokens.legacy.output)} / ${number(shadow.tokens.pool.output)}`],
    ["money today", `${money.spent_today.toPrecision(3)} of ${money.per_day} per worker`], ["money since the start", money.spent.toPrecision(3) + (money.total === null ? "" : ` of ${money.total} per worker`)]];
  const rows = [["status", shadow.statuses], ["finish reason", shadow.finish_reasons]].flatMap(([what, found]) => found.map((row) => [what, row.legacy === row.pool ? "● same" : "▲ other", row.legacy, row.pool, number(row.count)]));
  const names = ["what", "", "legacy", "pool", "calls"];
  $("shadow").replaceChildren(h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])), rows.length ? h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) => h("td", {}, value))))))) : empty("Nothing compared yet."));
}

function drawAudit(state) {
  if (!state.audit.length) return $("audit").replaceChildren(empty("None since the start. POST /admin/llm-system/control makes some."));
  $("audit").replaceChildren(h("div", { class: "scroll" }, h("table", { class: "cards" }, h("thead", {}, h("tr", {}, ["when", "by", "what", "from", "to"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, state.audit.map((entry) => h("tr", {}, h("td", { "data-label": "when" }, clock(entry.time)), h("td", { "data-label": "by" }, String(entry.actor)), h("td", { "data-label": "what" }, words(entry.what)), h("td", { "data-label": "from" }, String(entry.from)), h("td", { "data-label": "to" }, String(entry.to))))))));
}

function drawSettings(state) {
  const only = $("changed").checked, mark = JSON.stringify([state.settings, only]);
  if (mark === seen.settings) return;
  seen.settings = mark;
  const entries = Object.entries(state.settings).filter(([, setting]) => !only || setting.source !== "default");
  if (!entries.length) return $("settings").replaceChildren(empty("Everything is at its default."));
  $("settings").replaceChildren(h("div", { class: "scroll" }, h("table", { class: "cards" }, h("thead", {}, h("tr", {}, ["setting", "value", "from"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, entries.map(([name, setting]) => h("tr", {}, h("td", { class: "mono full" }, name), h("td", { class: "mono" }, setting.value === null ? "–" : String(setting.value)), h("td", {}, setting.source)))))));
}

/* ---- once a second ---- */
function draw(state, calls) {
  seen.last = [state, calls];
  for (const panel of [drawHead, drawTiles, drawFlow, drawNodes, drawLatency, drawOutcomes, drawBreaker, drawQueue, drawLoop, drawStages, drawShadow, drawErrors, drawWorkers, drawRollout, drawAudit, drawSettings]) panel(state);
  drawRequests(calls);
  seen.polls.push({ time: state.time, attempts: Object.fromEntries(state.nodes.map((node) => [node.name, node.stats.attempts])) });
  if (seen.polls.length > KEPT_POLLS) seen.polls.shift();
}
function beat(tone, text) { const element = $("beat"); element.dataset.tone = tone; if (element.textContent !== text) element.textContent = text; }
async function fetched(url) {
  const response = await fetch(url, { cache: "no-store", credentials: "same-origin", headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(response.status === 401 ? "the token is not accepted any more" : `answered ${response.status}`);
  return response.json();
}
async function poll() {
  if (!seen.paused && !document.hidden) {
    try {
      const [state, { requests }] = await Promise.all([fetched("?format=json"), fetched("llm-system/requests?limit=40")]);
      draw(state, requests);
      beat("ok", "● live");
    } catch (error) {
      beat("bad", `■ no answer (${error.message}), trying again`);
    }
  }
  setTimeout(poll, PERIOD);
}
$("pause").addEventListener("click", () => {
  seen.paused = !seen.paused;
  $("pause").setAttribute("aria-pressed", String(seen.paused));
  $("pause").textContent = seen.paused ? "Go on" : "Pause";
  if (seen.paused) beat("idle", "○ paused");
});
$("changed").addEventListener("change", () => { if (seen.last) drawSettings(seen.last[0]); });
let resizing = 0;
addEventListener("resize", () => { cancelAnimationFrame(resizing); resizing = requestAnimationFrame(() => { if (seen.last) drawFlow(seen.last[0]); }); });
poll();
