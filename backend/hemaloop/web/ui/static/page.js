// Keeps the parts of the page up to date and says when things were in the reader's own words. Nothing depends on it.
"use strict";

const unit = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function sayTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const seconds = (Date.parse(element.dateTime) - Date.now()) / 1000;
    const [name, size] = unit.find(([, length]) => Math.abs(seconds) >= length) || unit[unit.length - 1];
    element.title = new Date(element.dateTime).toLocaleString();
    element.textContent = words.format(Math.round(seconds / size), name);
  }
}

// A part is left alone while somebody uses it: an open question or a focused button must not vanish.
function inUse(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open]") !== null;
}

async function refresh(part) {
  if (document.hidden || inUse(part)) return;
  const headers = part.dataset.tag ? { "If-None-Match": part.dataset.tag } : {};
  let reply;
  try {
    reply = await fetch(part.dataset.live, { headers, cache: "no-store", credentials: "same-origin" });
  } catch {
    part.classList.add("stale");
    return;
  }
  if (reply.status === 401) return location.reload();
  part.classList.toggle("stale", !reply.ok && reply.status !== 304);
  if (!reply.ok || inUse(part)) return;
  part.dataset.tag = reply.headers.get("ETag") || "";
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
  part.replaceChildren(...fresh.body.childNodes);
  sayTimes(part);
}

for (const part of document.querySelectorAll("[data-live]")) {
  const turn = async () => {
    await refresh(part);
    setTimeout(turn, 1000 * Number(part.dataset.every));
  };
  setTimeout(turn, 1000 * Number(part.dataset.every));
}
sayTimes(document);
setInterval(() => sayTimes(document), 15000);
