// Keeps the page up to date: asks for its parts every few seconds and puts in those that changed, so that scroll,
// focus and opened details stay. When nobody answers it says of when the figures are, and goes on trying.
"use strict";

const main = document.getElementById("main");
const lost = document.getElementById("lost");
const readAt = document.getElementById("read-at");
const everyMs = Number(main.dataset.every);
const slowestMs = 30000;
const patience = 10; // rounds for which selected text is left alone
const focusable = "a[href], button, summary, [tabindex]";

const sent = new WeakMap(); // part -> what the server sent, whatever the reader opened in it since
let misses = 0;
let waited = 0;

async function refresh() {
  try {
    const answer = await fetch(location.href, {
      headers: { "Mlspine-Part": "main", Accept: "text/html" },
      cache: "no-store",
      signal: AbortSignal.timeout(15000),
    });
    if (answer.status === 401) {
      tell(`You are signed out. These figures are of ${readAt.textContent} UTC.`, true);
      return;
    }
    if (!answer.ok) throw new Error(`answers with an error (${answer.status})`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    if (!isSelecting() || ++waited > patience) {
      waited = 0;
      inPlace(() => update(fresh));
      readAt.textContent = answer.headers.get("Mlspine-Read-At");
    }
    misses = 0;
    tell("");
  } catch (problem) {
    misses += 1;
    const what = problem.message.startsWith("answers") ? problem.message : "does not answer";
    if (misses > 1) tell(`mlspine ${what}. These figures are of ${readAt.textContent} UTC. Trying again.`);
  }
  setTimeout(refresh, Math.min(everyMs * Math.max(1, misses), slowestMs));
}

function tell(text, offerSignIn) {
  if (lost.dataset.text === text) return;
  lost.dataset.text = text;
  lost.textContent = text;
  if (offerSignIn) {
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Sign in";
    lost.append(" ", link);
  }
  document.body.classList.toggle("stale", text !== "");
}

function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

// ---------------------------------------------------------------- putting in what changed

function partsOf(root) {
  return [...root.querySelectorAll("[data-part]")];
}

function remember(root) {
  for (const part of partsOf(root)) sent.set(part, part.outerHTML);
}

// Whatever grows above, the part that is being read stays where it is on the screen.
function inPlace(change) {
  const read = partsOf(main).find((part) => part.getBoundingClientRect().bottom > 0);
  const top = read ? read.getBoundingClientRect().top : 0;
  change();
  const again = read && document.getElementById(read.id);
  if (again && scrollY > 0) scrollBy(0, again.getBoundingClientRect().top - top);
}

function update(fresh) {
  const title = fresh.querySelector("[data-title]");
  if (title) document.title = title.dataset.title;
  const old = partsOf(main);
  const next = partsOf(fresh);
  if (old.length !== next.length || old.some((part, i) => part.id !== next[i].id)) {
    keeping(main, () => {
      main.replaceChildren(...fresh.childNodes);
      return main;
    });
    remember(main);
    return;
  }
  old.forEach((part, i) => {
    const html = next[i].outerHTML;
    if (sent.get(part) === html) return;
    keeping(part, () => {
      part.replaceWith(next[i]);
      return next[i];
    });
    sent.set(next[i], html);
  });
}

// Runs `change`, which returns what now stands in the part's place, and gives back focus and opened details.
function keeping(part, change) {
  const opened = new Map(detailsOf(part).map((each) => [each.id, each.open]));
  const active = document.activeElement;
  const at = part.contains(active) && active !== part ? [...part.querySelectorAll(focusable)].indexOf(active) : -1;
  const id = at < 0 ? "" : active.id;
  const put = change();
  for (const each of detailsOf(put)) if (opened.has(each.id)) each.open = opened.get(each.id);
  if (at < 0) return;
  const again = (id && document.getElementById(id)) || put.querySelectorAll(focusable)[at];
  if (again) again.focus({ preventScroll: true });
}

function detailsOf(part) {
  const inside = [...part.querySelectorAll("details[id]")];
  return part.matches("details[id]") ? [part, ...inside] : inside;
}

// ---------------------------------------------------------------- copying commands

async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren(code); // without TLS pages have no clipboard: the keyboard copies it
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

document.documentElement.classList.add("scripted");
remember(main);
setTimeout(refresh, everyMs);
