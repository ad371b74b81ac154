// Small helps; every page works without them.
"use strict";

// Fresh parts of the overview: each replaces its counterpart, and only when it differs.
const live = document.getElementById("live");
if (live) {
  const pulse = document.getElementById("pulse");
  const button = document.getElementById("pause");
  let paused = false;
  let trouble = "";

  const say = (text) => {
    if (text !== trouble) pulse.textContent = trouble = text;
  };
  const refresh = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = live.querySelector(`[data-live="${part.dataset.live}"]`);
      if (old && !old.contains(document.activeElement) && old.innerHTML !== part.innerHTML) {
        old.innerHTML = part.innerHTML;
      }
    }
    live.dataset.updates = Number(live.dataset.updates || 0) + 1;
  };

  const source = new EventSource("/live" + location.search);
  source.addEventListener("overview", (event) => {
    say("");
    if (!paused) refresh(JSON.parse(event.data));
  });
  source.addEventListener("unreachable", (event) => say(JSON.parse(event.data) + "; trying again."));
  source.addEventListener("bye", (event) => {
    source.close();
    say(JSON.parse(event.data));
  });
  source.onerror = () => say("No connection to the dashboard; trying again.");

  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
  });
}

const all = document.getElementById("select-all");
if (all) {
  all.hidden = false;
  all.querySelector("input").addEventListener("change", (event) => {
    for (const box of document.querySelectorAll('input[name="job"]')) box.checked = event.target.checked;
  });
}
