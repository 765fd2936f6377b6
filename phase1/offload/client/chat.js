// The chat page: what an app would write around AsyncChatClient.
import { AsyncChatClient } from './async-chat-client.js';

const element = (id) => document.getElementById(id);
const [log, form, message, model, send, stop, state] = ['log', 'form', 'message', 'model', 'send', 'stop', 'state'].map(element);
let bubble = null;

const client = new AsyncChatClient({
  baseUrl: new URL('.', location.href).pathname,
  sessionId: session(),
  onStart: () => say('waiting'),
  onMessage: ({ content }) => {
    bubble.textContent = content;
    say('answering');
  },
  onReset: () => {
    bubble.textContent = '';
    say('beginning anew: a worker was lost');
  },
  onReconnect: ({ attempt }) => say(attempt ? `reconnecting (${attempt})` : 'answering'),
  onComplete: ({ status, usage }) => say(usage ? `${status}, ${usage.total_tokens} tokens` : status),
  onError: ({ code, message: text }) => {
    bubble.classList.add('failed');
    bubble.textContent ||= text;
    say(code);
  },
});

function session() {
  const known = sessionStorage.getItem('phase1:session') ?? crypto.getRandomValues(new Uint32Array(2)).join('-');
  sessionStorage.setItem('phase1:session', known);
  return known;
}

function say(text) {
  state.textContent = text;
}

function add(text, mine) {
  const item = document.createElement('li');
  item.textContent = text;
  item.className = mine ? 'mine' : 'answer';
  log.append(item);
  return item;
}

async function follow(chat) {
  send.disabled = true;
  stop.disabled = false;
  await chat.catch(() => {}); // onError has told it
  send.disabled = false;
  stop.disabled = true;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = message.value.trim();
  if (!text || client.busy) return;
  add(text, true);
  bubble = add('', false);
  message.value = '';
  follow(client.sendMessage(text, model.value.trim() || undefined));
});

message.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey) {
    event.preventDefault();
    form.requestSubmit();
  }
});

stop.addEventListener('click', () => client.stop());

if (client.remembered()) {
  bubble = add('', false);
  say('resuming');
  follow(client.resume());
}
