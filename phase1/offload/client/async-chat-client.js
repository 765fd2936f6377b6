/**
 * Chats over /api/async that survive reloads, lost connections and restarted servers. One module, no dependency.
 *
 *     const chat = new AsyncChatClient({ baseUrl: '/api/async', onMessage, onComplete, onError });
 *     await chat.sendMessage('Hello', 'gpt-4o-mini');   // resolves with {text, usage, taskId, …} at the end
 *     await chat.stop();                                // the stop button: the model stops too
 *     await chat.resume();                              // after a reload: goes on where the page was left
 *
 * A question is asked once: what is lost afterwards is read again from the server's journal, by cursor. Types are in
 * async-chat-client.d.ts.
 */

const MAX_BUFFER = 1 << 20;
const MAX_FAILURES = 8;
const FIRST_DELAY = 500;
const LONGEST_DELAY = 8000;
const ENDS = new Set(['response.completed', 'response.incomplete', 'response.failed', 'response.cancelled']);

/** Server-sent events, from chunks that are cut anywhere. Sans I/O: feed it, and take what is complete. */
export class EventParser {
  constructor() {
    this.buffer = '';
    this.first = true;
    this.lastId = '';
    this.retry = null;
    this.reset();
  }

  reset() {
    this.type = '';
    this.data = [];
    this.id = null;
  }

  /** The events that are complete with this text. Throws when one is larger than a mebibyte. */
  feed(text) {
    this.buffer += text;
    if (this.first && this.buffer) {
      this.first = false;
      if (this.buffer.charCodeAt(0) === 0xfeff) this.buffer = this.buffer.slice(1);
    }
    const events = [];
    let from = 0;
    for (;;) {
      const found = this.lineEnd(from);
      if (!found) break;
      const event = this.line(this.buffer.slice(from, found.at));
      if (event) events.push(event);
      from = found.next;
    }
    this.buffer = this.buffer.slice(from);
    if (this.buffer.length > MAX_BUFFER) throw new Error('an event is too large');
    return events;
  }

  lineEnd(from) {
    for (let i = from; i < this.buffer.length; i += 1) {
      const code = this.buffer.charCodeAt(i);
      if (code === 10) return { at: i, next: i + 1 };
      if (code === 13) {
        if (i + 1 === this.buffer.length) return null; // perhaps the half of CRLF
        return { at: i, next: this.buffer.charCodeAt(i + 1) === 10 ? i + 2 : i + 1 };
      }
    }
    return null;
  }

  line(line) {
    if (line === '') return this.dispatch();
    if (line.startsWith(':')) return null;
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'event') this.type = value;
    else if (field === 'data') this.data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value);
    return null;
  }

  dispatch() {
    const { type, data, id } = this;
    this.reset();
    if (id !== null) this.lastId = id;
    return data.length ? { type: type || 'message', data: data.join('\n'), id: this.lastId } : null;
  }
}

/** What a chat can fail with. `retryable`: asking again later may help. */
export class AsyncChatError extends Error {
  constructor(code, message, { retryable = false, status = 0, taskId = null } = {}) {
    super(message);
    this.name = 'AsyncChatError';
    this.code = code;
    this.retryable = retryable;
    this.status = status;
    this.taskId = taskId;
  }
}

export class AsyncChatClient {
  constructor(options = {}) {
    this.baseUrl = (options.baseUrl ?? '/api/async').replace(/\/+$/, '');
    this.options = options;
    this.storage = options.storage ?? (typeof sessionStorage === 'undefined' ? null : sessionStorage);
    this.storageKey = `phase1:${this.baseUrl}`;
    this.fetch = options.fetch ?? ((...args) => fetch(...args));
    this.chat = null;
  }

  /** Whether a chat is going on. */
  get busy() {
    return this.chat !== null;
  }

  /** The task of the chat that is going on, else `null`. */
  get taskId() {
    return this.chat?.taskId ?? null;
  }

  /** Ask. Resolves with the result at the end; rejects, after `onError`, with an `AsyncChatError`. */
  async sendMessage(message, model, { sessionId } = {}) {
    if (this.chat) throw new AsyncChatError('busy', 'a chat is going on: wait for it, or stop it');
    const body = { message };
    if (model !== undefined) body.model = model;
    const session = sessionId ?? this.options.sessionId;
    if (session !== undefined) body.session_id = session;
    const chat = this.begin({ key: newKey() });
    return this.run(chat, () => this.post(chat, body));
  }

  /** Go on with the chat that this tab was in, or with `taskId`. Resolves with `null` when there is none. */
  async resume(taskId) {
    if (this.chat) throw new AsyncChatError('busy', 'a chat is going on: wait for it, or stop it');
    const task = taskId ?? this.remembered();
    if (!task) return null;
    return this.run(this.begin({ taskId: task, url: `${this.baseUrl}/chat/stream/${encodeURIComponent(task)}` }), null);
  }

  /** The stop button: the server stops too. What was written so far stays. */
  async stop() {
    const chat = this.chat;
    if (!chat) return;
    chat.stopped = true;
    if (!chat.url) {
      chat.abort.abort();
      return;
    }
    await this.fetch(chat.url, { method: 'DELETE', ...this.common() }).catch(() => {});
    chat.wake?.();
    if (this.chat === chat) chat.forget = setTimeout(() => chat.abort.abort(), 3000);
  }

  begin(facts) {
    const chat = { taskId: null, url: null, cursor: '', text: '', usage: null, finish: null, ended: null, failures: 0 };
    this.chat = Object.assign(chat, { abort: new AbortController(), retry: null, stopped: false }, facts);
    return this.chat;
  }

  async run(chat, first) {
    try {
      await this.read(chat, first);
      const result = this.result(chat);
      this.options.onComplete?.(result);
      return result;
    } catch (error) {
      const told = error instanceof AsyncChatError ? error : new AsyncChatError('internal_error', String(error));
      told.taskId = chat.taskId;
      this.options.onError?.(told);
      throw told;
    } finally {
      clearTimeout(chat.forget);
      if (this.chat === chat) this.chat = null;
    }
  }

  /** One connection after another, until there is a last event. */
  async read(chat, first) {
    let connect = first ?? (() => this.get(chat));
    for (;;) {
      try {
        const response = await connect();
        if (response.status === 204) return this.finish(chat, chat.ended ?? { type: 'response.completed', data: {} });
        await this.consume(chat, response);
        if (chat.ended) return this.finish(chat, chat.ended);
        chat.failures = chat.progress ? 0 : chat.failures + 1;
        if (chat.failures > MAX_FAILURES) throw lost();
      } catch (error) {
        if (error instanceof AsyncChatError && !error.again) throw error;
        if (chat.abort.signal.aborted) return this.finish(chat, { type: 'response.cancelled', data: {} });
        chat.failures += 1;
        chat.after = error.after ?? null;
        if (!chat.url) throw new AsyncChatError('network_error', 'the server cannot be reached', { retryable: true });
        if (chat.failures > MAX_FAILURES) throw lost();
      }
      connect = () => this.get(chat);
      this.options.onReconnect?.({ attempt: chat.failures, taskId: chat.taskId });
      await this.pause(chat);
    }
  }

  async post(chat, body) {
    const headers = { 'content-type': 'application/json', 'idempotency-key': chat.key };
    const response = await this.fetch(`${this.baseUrl}/chat/stream`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: chat.abort.signal,
      ...this.common(headers),
    });
    if (!response.ok) throw await refusal(response);
    chat.taskId = response.headers.get('x-task-id');
    chat.url = this.own(response.headers.get('location'), chat.taskId);
    this.remember(chat.taskId);
    this.options.onStart?.({ taskId: chat.taskId });
    return response;
  }

  async get(chat) {
    const headers = chat.cursor ? { 'last-event-id': chat.cursor } : {};
    const response = await this.fetch(chat.url, { signal: chat.abort.signal, ...this.common(headers) });
    if (response.ok) return response;
    const error = await refusal(response);
    error.again = response.status >= 500 || response.status === 429;
    if (!error.again) this.forget();
    throw error;
  }

  async consume(chat, response) {
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    chat.progress = false;
    try {
      while (!chat.ended) {
        const { done, value } = await reader.read();
        if (done) return;
        for (const event of parser.feed(decoder.decode(value, { stream: true }))) this.take(chat, event);
        chat.retry = parser.retry ?? chat.retry;
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  take(chat, event) {
    const data = JSON.parse(event.data);
    if (event.id) chat.cursor = event.id;
    chat.progress = true;
    this.options.onEvent?.(data);
    if (event.type === 'response.output_text.delta') {
      chat.text += data.delta;
      this.options.onMessage?.({ delta: data.delta, content: chat.text, taskId: chat.taskId });
    } else if (event.type === 'response.reset') {
      chat.text = '';
      this.options.onReset?.({ reason: data.reason, taskId: chat.taskId });
    } else if (ENDS.has(event.type)) {
      chat.ended = { type: event.type, data };
    }
  }

  finish(chat, { type, data }) {
    const away = type === 'response.failed' && data.error?.code === 'journal_unavailable';
    if (!away) this.forget();
    chat.usage = data.usage ?? null;
    chat.finish = data.finish_reason ?? null;
    chat.status = type.slice('response.'.length);
    if (type === 'response.failed') {
      const { code, message } = data.error ?? { code: 'failed', message: 'the chat failed' };
      throw new AsyncChatError(code, message, { retryable: away });
    }
  }

  result(chat) {
    const { text, usage, taskId, status, finish } = chat;
    return { content: text, text, usage, taskId, status, finishReason: finish };
  }

  /** Wait before the next connection. Offline or hidden pages only wait longer; both wake it up. */
  async pause(chat) {
    const grown = FIRST_DELAY * 2 ** Math.max(0, chat.failures - 1);
    const least = chat.failures ? Math.min(LONGEST_DELAY, grown) * (0.5 + Math.random() / 2) : 0;
    const delay = Math.max(least, chat.failures ? 0 : Math.min(chat.retry ?? 0, 200), (chat.after ?? 0) * 1000);
    chat.after = null;
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, delay);
      chat.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    chat.wake = null;
    const offline = () => typeof navigator !== 'undefined' && navigator.onLine === false;
    if (offline() && !chat.stopped) await once(globalThis, 'online', chat.abort.signal, offline);
  }

  common(headers = {}) {
    const more = typeof this.options.headers === 'function' ? this.options.headers() : this.options.headers;
    return { headers: { ...more, ...headers }, credentials: this.options.credentials ?? 'same-origin', cache: 'no-store' };
  }

  /** The server's address for the task, if it is of the same origin as the API; else the usual one. */
  own(location, taskId) {
    const usual = `${this.baseUrl}/chat/stream/${encodeURIComponent(taskId)}`;
    if (!location || typeof document === 'undefined') return usual;
    const here = new URL(this.baseUrl, document.baseURI);
    const there = new URL(location, here);
    return there.origin === here.origin ? there.href : usual;
  }

  remember(taskId) {
    try {
      this.storage?.setItem(this.storageKey, taskId);
    } catch {
      // private mode, or full: a reload cannot resume then
    }
  }

  remembered() {
    try {
      return this.storage?.getItem(this.storageKey) ?? null;
    } catch {
      return null;
    }
  }

  forget() {
    try {
      this.storage?.removeItem(this.storageKey);
    } catch {
      // as above
    }
  }
}

function lost() {
  return new AsyncChatError('connection_lost', 'the connection is lost; resume() tries again', { retryable: true });
}

async function refusal(response) {
  const told = await response.json().catch(() => ({}));
  const { code, message } = told.error ?? {};
  const retryable = response.status === 429 || response.status >= 500;
  const error = new AsyncChatError(code ?? `http_${response.status}`, message ?? `the server said ${response.status}`, {
    retryable,
    status: response.status,
  });
  const after = Number(response.headers.get('retry-after'));
  if (after > 0) error.after = Math.min(after, 60);
  return error;
}

function once(target, event, signal, needed) {
  return new Promise((resolve) => {
    const done = () => {
      target.removeEventListener(event, done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    target.addEventListener(event, done);
    signal.addEventListener('abort', done);
    if (!needed()) done();
  });
}

function newKey() {
  if (globalThis.crypto?.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export default AsyncChatClient;
