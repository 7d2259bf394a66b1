// Everything works without it, but for the slider and what refreshes itself.
"use strict";

const SECONDS = 5;

// Parts that are marked data-live are replaced when the server's version of them differs. An
// element that has not changed stays, so that its pictures are not asked for again.
async function refresh() {
  if (document.hidden) return;
  let answer;
  try {
    answer = await fetch(location.href, { headers: { "X-Live": "1" }, redirect: "manual" });
  } catch {
    return; // the next look may succeed
  }
  if (answer.type === "opaqueredirect") {
    location.reload(); // the session has ended
    return;
  }
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const list of document.querySelectorAll("[data-live-list]")) {
    renewList(list, fresh.getElementById(list.id));
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other && other.outerHTML !== part.outerHTML) {
      const keep = part.contains(document.activeElement);
      if (!keep) part.replaceWith(document.importNode(other, true));
    }
  }
}

// Takes the server's order of things, with those of our own elements that are the same.
function renewList(list, other) {
  if (!other) return;
  const ids = (root) => [...root.querySelectorAll("[id]")].map((each) => each.id).join();
  if (ids(list) === ids(other) || list.contains(document.activeElement)) return;
  const incoming = document.importNode(other, true);
  for (const part of incoming.querySelectorAll("[data-live]")) {
    const ours = document.getElementById(part.id);
    if (ours && ours.outerHTML === part.outerHTML) part.replaceWith(ours);
  }
  list.replaceChildren(...incoming.childNodes);
}

function slide() {
  const slider = document.getElementById("opacity");
  if (!slider) return;
  const overlay = document.getElementById("overlay");
  const value = document.getElementById("opacity-value");
  slider.addEventListener("input", () => {
    overlay.style.opacity = slider.value / 100;
    value.textContent = `${slider.value} %`;
  });
}

slide();
if (document.querySelector("[data-live], [data-live-list]")) setInterval(refresh, 1000 * SECONDS);
