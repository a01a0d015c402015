// Keeps the list on the page new: asks for the page again, by ETag, and changes only the rows that differ.

const AT_MOST_S = 60;
const PATIENCE_MS = 10_000;

const live = document.querySelector('[data-live]');
const state = document.querySelector('#state');
const everyS = Number(live?.dataset.live);

let etag = '';
let waitS = everyS;
let timer = 0;
let asking = false;
let changed = false;
let seenAt = new Date();

/** Replace *old* by *fresh*, going down into what is marked data-patch, so that equal rows are left alone. */
function patch(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (!old.matches('[data-patch]') || !fresh.matches('[data-patch]') || old.className !== fresh.className) {
    old.replaceWith(fresh);
    return;
  }
  const before = [...old.children];
  const after = [...fresh.children];
  after.forEach((child, place) => (before[place] ? patch(before[place], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

/** Where the keyboard stands in the list: which control of which tweet. */
function focusIn() {
  const control = document.activeElement?.closest('[data-live] [data-control]');
  return control && { id: control.closest('[data-id]')?.dataset.id ?? '', control: control.dataset.control };
}

/** Put the keyboard back to the same control; to the list when that tweet has left it. */
function focusAgain(place) {
  if (!place || focusIn()) return;
  const control = live.querySelector(`[data-id="${CSS.escape(place.id)}"] [data-control="${place.control}"]`);
  (control ?? live).focus({ preventScroll: true });
}

function show(page) {
  const fresh = new DOMParser().parseFromString(page, 'text/html').querySelector('[data-live]');
  const place = focusIn();
  patch(live, document.adoptNode(fresh));
  focusAgain(place);
}

/** Say that the list may be old; say nothing while all is well. Set only when it differs, or it would be read out again. */
function say(sentence) {
  if (state.textContent !== sentence) state.textContent = sentence;
}

async function ask() {
  const headers = etag ? { 'If-None-Match': etag } : {};
  const answer = await fetch(location.pathname + location.search, { headers, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status === 200 || answer.status === 410) { // a tweet that was deleted meanwhile
    show(await answer.text());
    etag = answer.headers.get('ETag') ?? '';
  } else if (answer.status !== 304) {
    throw Object.assign(new Error(answer.statusText), { afterS: Number(answer.headers.get('Retry-After')) || 0 });
  }
}

async function look() {
  clearTimeout(timer);
  if (document.hidden || asking) return; // it looks again when it is shown
  [asking, changed] = [true, false];
  try {
    await ask();
    [waitS, seenAt] = [everyS, new Date()];
    say('');
  } catch (error) {
    waitS = Math.max(Math.min(waitS * 2, AT_MOST_S), error.afterS ?? 0);
    const since = seenAt.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    say(`${navigator.onLine ? 'The service does not answer.' : 'You are offline.'} This is what was known at ${since}.`);
  }
  asking = false;
  const jitter = 0.9 + 0.2 * Math.random(); // so that not all ask at once
  timer = setTimeout(look, changed ? 0 : waitS * 1000 * jitter);
}

if (live) {
  document.addEventListener('visibilitychange', look);
  document.addEventListener('tweets:changed', () => {
    changed = true; // an answer under way may be older than the change
    look();
  });
  window.addEventListener('online', look);
  window.addEventListener('offline', look);
  timer = setTimeout(look, waitS * 1000);
}
