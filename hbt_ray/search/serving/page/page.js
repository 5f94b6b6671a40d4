// The search page. Whatever people or documents say is put in as text nodes, never as HTML.
const place = (id) => document.getElementById(id);
const [form, lists, status, error, explained] = ["form", "lists", "status", "error", "explained"].map(place);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function languageName(tag, inWhich) {
  try {
    return new Intl.DisplayNames([inWhich], { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag; // one that is no tag of BCP-47
  }
}

function choice(group, value, checked, ...label) {
  const box = element("input", { type: "checkbox", name: group, value });
  box.checked = checked;
  return element("label", { class: "choice" }, box, ...label);
}

const chosen = (group) => [...form.querySelectorAll(`[name=${group}]:checked`)].map((box) => box.value);

async function answer(path, body) {
  const request = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, request);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

function passage(hit) {
  const shown = element("p", { class: "passage", lang: hit.language, dir: hit.direction });
  if (hit.text === null) {
    shown.append(`${hit.id}: its text has gone`);
    return shown;
  }
  const letters = [...hit.text]; // characters, as the server counts them
  if (hit.title) shown.append(element("mark", { class: "title" }, letters.slice(0, hit.title).join("")));
  shown.append(letters.slice(hit.title).join(""));
  return shown;
}

function elsewhere(hit, own) {
  const others = Object.entries(hit.ranks).filter(([name]) => name !== own);
  return others.map(([name, rank]) => {
    const apart = own && rank !== null ? `, ${Math.abs(rank - hit.rank)} apart` : "";
    return element("span", { class: "elsewhere" }, rank === null ? `${name}: not in its first 100` : `${name}: rank ${rank}${apart}`);
  });
}

function item(hit, own) {
  const about = element("div", { class: "about" },
    element("b", { "aria-label": `rank ${hit.rank}` }, `${hit.rank}`),
    element("span", { class: "language", title: hit.language }, languageName(hit.language, "en")),
    element("span", { class: "score" }, `score ${hit.score.toFixed(4)}`),
    ...(Object.keys(hit.ranks).length > 1 ? elsewhere(hit, own) : []));
  return element("li", { "data-id": hit.id }, about, passage(hit));
}

function list(name, model, hits, own) {
  const heading = element("h2", {}, name, ...(model ? [" ", element("small", {}, `encoded by ${model}`)] : []));
  const shown = hits.length ? element("ol", {}, ...hits.map((hit) => item(hit, own))) : element("p", {}, "no passage");
  return element("section", { "aria-label": name }, heading, shown);
}

function explain(found) {
  explained.hidden = found.length < 2;
  const passages = new Map(found.flatMap((one) => one.hits).map((hit) => [hit.id, hit]));
  const apart = [...passages.values()].map((hit) => hit.rank_distance).filter((distance) => distance !== null);
  const mean = apart.reduce((sum, distance) => sum + distance, 0) / apart.length;
  explained.textContent = "Rank distance is how many places apart the lists have a passage: 0 where they agree. "
    + `Of the ${passages.size} passages shown, ${apart.length} are among the first 100 of several lists`
    + (apart.length ? `, on average ${mean.toFixed(1)} places apart.` : ".");
}

let latest = 0;

async function search(event) {
  event.preventDefault();
  const own = ++latest; // an answer that comes after a newer question is not shown
  error.textContent = "";
  status.textContent = "Searching …";
  lists.setAttribute("aria-busy", "true");
  const begun = performance.now();
  const request = {
    query: place("query").value, languages: chosen("language"), collections: chosen("collection"),
    k: Number(place("k").value),
  };
  try {
    const found = await answer("search", request);
    if (own !== latest) return;
    const one = found.lists.length < 2;
    const beside = !one && place("view").value === "beside";
    lists.replaceChildren(...(beside
      ? found.lists.map((each) => list(each.collection, each.model, each.hits, each.collection))
      : [list(one ? "Passages" : "Fused", "", found.hits, "")]));
    explain(found.lists);
    const seconds = ((performance.now() - begun) / 1000).toFixed(2);
    status.textContent = `${found.hits.length} passages in ${seconds} s`;
  } catch (problem) {
    if (own !== latest) return;
    lists.replaceChildren();
    explained.hidden = true;
    status.textContent = "";
    error.textContent = problem.message;
  } finally {
    if (own === latest) lists.removeAttribute("aria-busy");
  }
}

async function start() {
  const served = await answer("collections");
  const languages = new Map();
  for (const one of served) for (const [tag, about] of Object.entries(one.languages)) languages.set(tag, about);
  for (const [tag, about] of [...languages].sort()) {
    const name = element("bdi", { lang: tag, dir: about.direction }, languageName(tag, tag));
    place("languages").append(choice("language", tag, false, name));
  }
  for (const one of served) place("collections").append(choice("collection", one.name, true, one.name));
  place("collections").hidden = place("view-label").hidden = served.length < 2;
  form.addEventListener("submit", search);
}

start().catch((problem) => { error.textContent = problem.message; });
