// Posting, retweeting and deleting by form. What a person or the server wrote is only ever set as text, never as markup.

const notice = document.querySelector('#notice');
const NAME_KEY = 'user_name';
const TOKEN_KEY = 'token';
const TOKEN_USER_KEY = 'token_user';
const SAID_KEY = 'said';
const SHORTCUT_KEY = 'shortcut';
const shortcut = document.querySelector('[data-shortcut]');
const COUNTED_FROM = 40; // characters before the limit, from which they are counted

/** What a person reads, by the code of the problem; other problems have a sentence of their own. */
const SENTENCES = {
  token_missing: 'This site needs a token to post. Ask the people who run it.',
  token_unknown: 'This token is unknown, or was revoked. Ask the people who run this site for another one.',
  no_token_exists: 'This site takes no posts from here yet. Ask the people who run it.',
  overloaded: 'The service is busy. Sending it again in a moment is safe: it counts once.',
  store_unavailable: 'The service is not ready. Sending it again in a moment is safe: it counts once.',
};

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

function showFaults(form, faults) {
  for (const place of form.querySelectorAll('[data-fault]')) {
    const fault = faults[place.dataset.fault] ?? '';
    place.textContent = fault;
    const input = place.dataset.fault && form.elements[place.dataset.fault];
    if (input && fault) input.setAttribute('aria-invalid', 'true');
    else if (input) input.removeAttribute('aria-invalid');
  }
  form.querySelector('[aria-invalid]')?.focus();
}

/** What to show beside which field; what belongs to no field stands above them all. */
function faultsOf(form, problem, afterS) {
  const faults = {};
  for (const fault of problem.errors ?? []) {
    const input = form.elements[fault.field];
    faults[input ? fault.field : ''] = input ? sentenceFor(input, fault) : fault.detail;
  }
  if (Object.keys(faults).length > 0) return faults;
  if (problem.code === 'too_many_writes') return { '': `Too many tweets in a short time. Try again in ${afterS} seconds.` };
  return { '': SENTENCES[problem.code] ?? problem.detail ?? 'The service did not understand. Please try again.' };
}

function sentenceFor(input, { code, detail }) {
  if (code === 'missing' || !input.value.trim()) return input.dataset.enter;
  return lengthOf(input) > input.dataset.most ? counted(input) : (input.dataset.rule ?? detail);
}

function lengthOf(input) {
  return [...input.value].length;
}

function counted(input) {
  return `${lengthOf(input).toLocaleString('en')} of ${Number(input.dataset.most).toLocaleString('en')} characters`;
}

/** Count what is written, close to the limit. */
function count(input) {
  const counter = input.form.querySelector(`[data-counter="${input.name}"]`);
  if (!counter) return;
  const length = lengthOf(input);
  counter.textContent = length < input.dataset.most - COUNTED_FROM ? '' : counted(input);
  counter.classList.toggle('over', length > input.dataset.most);
}

/** Say what happened, with ways to it, where a screen reader hears it. */
function tell(sentence, ways = []) {
  const links = ways.map(([text, id]) => Object.assign(document.createElement('a'), { href: `/tweet/${id}`, textContent: text }));
  notice.replaceChildren(sentence, ...links.flatMap((link) => [' ', link]));
  clearTimeout(notice.timer);
  notice.timer = setTimeout(() => notice.replaceChildren(), 20_000);
}

/** How many tweets a retweet has counted for, with a way to both ends of its chain. */
async function tellGain(tweet) {
  let [gained, cursor, root] = [-1, '', tweet];
  do {
    const page = await (await fetch(`/api/v1/tweet/${tweet.id}/chain?limit=100${cursor}`)).json();
    gained += page.tweets.filter((each) => each.user_name !== null).length;
    root = page.tweets.at(-1);
    cursor = page.next && `&cursor=${page.next}`;
  } while (cursor);
  tell(`Retweeted. ${gained} ${gained === 1 ? 'tweet' : 'tweets'} gained 1.`, [['Your retweet', tweet.id], ['The original', root.id]]);
}

async function send(form) {
  const call = { method: form.dataset.method, headers: authorization(form), signal: AbortSignal.timeout(15_000) };
  if (call.method === 'POST') {
    call.body = JSON.stringify(read(form));
    Object.assign(call.headers, { 'Content-Type': 'application/json', 'Idempotency-Key': keyFor(form, call.body) });
  }
  const answer = await fetch(form.dataset.call, call);
  return { answer, result: answer.status === 204 ? {} : await answer.json() };
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
    else showFaults(form, faultsOf(form, result, answer.headers.get('Retry-After')));
    if (answer.status === 401) remember('sessionStorage', TOKEN_KEY, '');
    if (answer.status === 401 || result.code === 'wrong_user') askForToken(form);
  } catch {
    showFaults(form, { '': 'No answer. Sending it again is safe: it counts once.' });
  } finally {
    form.ariaBusy = 'false';
  }
}

function done(form, tweet) {
  remember('sessionStorage', TOKEN_KEY, tokenOf(form));
  if (form.dataset.method === 'DELETE') {
    location.reload();
    return;
  }
  remember('localStorage', NAME_KEY, tweet.user_name);
  remember('sessionStorage', TOKEN_USER_KEY, tweet.user_name);
  remember('sessionStorage', draftKey(form), '');
  form.reset();
  form.querySelector('[data-token]').hidden = true;
  form.sent = null;
  form.closest('dialog').close();
  if (form.dataset.tweet) {
    tell('Retweeted.', [['Your retweet', tweet.id]]);
    tellGain(tweet).catch(() => {}); // said already, without the number
    document.dispatchEvent(new Event('tweets:changed'));
    offerDelete();
  } else {
    remember('sessionStorage', SAID_KEY, 'Posted.');
    location.assign(`/tweet/${tweet.id}`);
  }
}

/** Show the button that deletes where no token is needed, or the one of this tab is the author's. */
function offerDelete() {
  const button = document.querySelector('.deletes');
  const user = remembered('sessionStorage', TOKEN_KEY) && remembered('sessionStorage', TOKEN_USER_KEY);
  document.body.classList.toggle('may-delete', Boolean(button) && (!button.dataset.tokens || user === button.dataset.author));
}

function draftKey(form) {
  return `draft of ${form.dataset.call}`;
}

function keepDraft(form) {
  const [title, body] = [form.elements.title.value, form.elements.body.value];
  remember('sessionStorage', draftKey(form), title || body ? JSON.stringify({ title, body }) : '');
}

/** Put the draft of this tab into an empty form, and say so. */
function findDraft(form) {
  const draft = remembered('sessionStorage', draftKey(form));
  if (draft && !form.elements.title.value && !form.elements.body.value) {
    const { title, body } = JSON.parse(draft);
    Object.assign(form.elements.title, { value: title });
    Object.assign(form.elements.body, { value: body });
  }
  form.querySelector('[data-draft]').hidden = !(form.elements.title.value || form.elements.body.value);
  count(form.elements.title);
  count(form.elements.body);
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
  notice.replaceChildren();
  dialog.showModal();
  if (form.dataset.method === 'DELETE') return;
  form.elements.user_name.value ||= remembered('localStorage', NAME_KEY);
  findDraft(form);
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

document.addEventListener('input', ({ target }) => {
  if (!target.matches('[name=title], [name=body]')) return;
  count(target);
  keepDraft(target.form);
});

document.addEventListener('close', ({ target }) => {
  const fields = target.querySelector('form').elements;
  if (fields.title?.value || fields.body?.value) tell('Your draft is kept in this tab.');
}, true);

document.addEventListener('keydown', (event) => {
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  const form = event.target.closest('dialog form');
  if (form && event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    form.requestSubmit();
  } else if (event.key === 'n' && isPlain && shortcut.checked && !event.target.closest('dialog, a, button, input, summary')) {
    event.preventDefault(); // else the letter would be the first one of the draft
    open(document.querySelector('[data-opens="post"]'));
  }
});

document.addEventListener('submit', (event) => {
  event.preventDefault();
  submit(event.target);
});

shortcut.checked = remembered('localStorage', SHORTCUT_KEY) !== 'off';
shortcut.addEventListener('change', () => remember('localStorage', SHORTCUT_KEY, shortcut.checked ? 'on' : 'off'));
offerDelete();
if (remembered('sessionStorage', SAID_KEY)) {
  tell(remembered('sessionStorage', SAID_KEY));
  remember('sessionStorage', SAID_KEY, '');
}
