// Posting and retweeting by form. What a person or the server wrote is only ever set as text, never as markup.

const told = document.querySelector('#told');
const NAME_KEY = 'user_name';
const TOKEN_KEY = 'token';

/** Sixteen random bytes in hexadecimal; works on plain http too, where crypto.randomUUID does not. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The body of the call: in a retweet, a field left empty is left out, and so is the target's. */
function read(form) {
  const entries = [...new FormData(form)].map(([name, value]) => [name, value.replace(/\r\n?/g, '\n')]);
  const { token, ...fields } = Object.fromEntries(entries);
  if (!form.dataset.tweet) return fields;
  const given = Object.entries(fields).filter(([, value]) => value !== '');
  return { user_name: fields.user_name, ...Object.fromEntries(given), retweet: form.dataset.tweet };
}

/** The same key for the same values until they are stored: however often it is sent, it counts once. */
function keyFor(form, body) {
  if (form.sent !== body) Object.assign(form, { sent: body, key: newKey() });
  return form.key;
}

/** *sentence*, in which the API sets what is to be written just so between backticks; that is shown as code. */
function withCode(sentence) {
  const code = (text) => Object.assign(document.createElement('code'), { textContent: text });
  return sentence.split('`').map((part, place) => (place % 2 ? code(part) : part));
}

function showFaults(form, faults) {
  for (const place of form.querySelectorAll('[data-fault]')) {
    const fault = faults[place.dataset.fault] ?? '';
    place.replaceChildren(...withCode(fault));
    const input = place.dataset.fault && form.elements[place.dataset.fault];
    if (input && fault) input.setAttribute('aria-invalid', 'true');
    else if (input) input.removeAttribute('aria-invalid');
  }
  form.querySelector('[aria-invalid]')?.focus();
}

/** What to show beside which field; what belongs to no field stands above them all. */
function faultsOf(form, problem) {
  const faults = {};
  for (const { field, detail } of problem.errors ?? []) {
    const known = form.querySelector(`[data-fault="${CSS.escape(field)}"]`);
    if (known) faults[field] = detail;
    else faults[''] = detail;
  }
  if (Object.keys(faults).length === 0) faults[''] = problem.detail ?? 'The service did not understand. Please try again.';
  return faults;
}

/** Say what happened, with a way to it, where a screen reader hears it. */
function tell(sentence, tweet) {
  const link = document.createElement('a');
  link.href = `/tweet/${tweet.id}`;
  link.textContent = 'See it';
  told.replaceChildren(`${sentence} `, link);
  clearTimeout(told.timer);
  told.timer = setTimeout(() => told.replaceChildren(), 20_000);
}

async function send(form) {
  const body = JSON.stringify(read(form));
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': keyFor(form, body), ...authorization(form) };
  const answer = await fetch(form.dataset.call, { method: 'POST', body, headers, signal: AbortSignal.timeout(15_000) });
  return { answer, result: await answer.json() };
}

/** The token of the form or of this tab, if there is one; what no token holds would be no header either. */
function authorization(form) {
  const token = tokenOf(form);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function tokenOf(form) {
  return (form.elements.token.value || remembered('sessionStorage', TOKEN_KEY)).replace(/[^!-~]/g, '');
}

/** Show the field for a token: one is needed, or another one. */
function askForToken(form) {
  form.querySelector('[data-token]').hidden = false;
  form.elements.token.focus();
}

async function submit(form) {
  if (form.ariaBusy === 'true') return; // the second click of a double click
  form.ariaBusy = 'true';
  showFaults(form, {});
  try {
    const { answer, result } = await send(form);
    if (answer.ok) done(form, result);
    else showFaults(form, faultsOf(form, result));
    if (answer.status === 401) remember('sessionStorage', TOKEN_KEY, '');
    if (answer.status === 401 || answer.status === 403) askForToken(form);
  } catch {
    showFaults(form, { '': 'No answer. Sending it again is safe: it counts once.' });
  } finally {
    form.ariaBusy = 'false';
  }
}

function done(form, tweet) {
  remember('localStorage', NAME_KEY, tweet.user_name);
  remember('sessionStorage', TOKEN_KEY, tokenOf(form));
  form.reset();
  form.querySelector('[data-token]').hidden = true;
  form.sent = null;
  form.closest('dialog').close();
  tell(form.dataset.tweet ? 'Retweeted.' : 'Posted.', tweet);
  document.dispatchEvent(new Event('tweets:changed'));
}

/** The name is kept in this browser, a token in this tab, for the next time; where that is forbidden, it is asked again. */
function remember(store, key, value) {
  try {
    window[store].setItem(key, value);
  } catch { /* kept nowhere */ }
}

function remembered(store, key) {
  try {
    return window[store].getItem(key) ?? '';
  } catch {
    return '';
  }
}

function open(button) {
  const dialog = document.getElementById(button.dataset.opens);
  const form = dialog.querySelector('form');
  if (button.dataset.tweet) aim(form, button);
  showFaults(form, {});
  form.elements.user_name.value ||= remembered('localStorage', NAME_KEY);
  dialog.showModal();
  (form.elements.user_name.value ? form.elements.title : form.elements.user_name).focus();
}

/** Point the retweet form at the tweet whose button was pressed. */
function aim(form, button) {
  const article = button.closest('article');
  form.dataset.tweet = button.dataset.tweet;
  form.querySelector('[data-target="user_name"]').textContent = article.querySelector('[data-name]').textContent;
  form.querySelector('[data-target="title"]').textContent = article.querySelector('[data-title]').textContent;
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.dataset.opens) open(button);
  if (button && 'closes' in button.dataset) button.closest('dialog').close();
});

document.addEventListener('submit', (event) => {
  event.preventDefault();
  submit(event.target);
});
