/** Types of async-chat-client.js. */

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

/** `delta` is new, `content` is all so far. */
export interface ChatMessage {
  delta: string;
  content: string;
  taskId: string | null;
}

export interface ChatResult {
  /** The whole text; `text` is the same. */
  content: string;
  text: string;
  usage: Usage | null;
  taskId: string | null;
  status: 'completed' | 'incomplete' | 'cancelled';
  finishReason: string | null;
}

export interface AsyncChatClientOptions {
  /** Where the routes are; default `/api/async`. */
  baseUrl?: string;
  /** The session that the server remembers what was said in. */
  sessionId?: string;
  /** Further headers, or a function that makes them, such as `Authorization`. */
  headers?: Record<string, string> | (() => Record<string, string>);
  credentials?: RequestCredentials;
  /** Where the running task is remembered; default `sessionStorage`. `null`: nowhere. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null;
  fetch?: typeof fetch;
  onStart?: (started: { taskId: string | null }) => void;
  onMessage?: (message: ChatMessage) => void;
  onComplete?: (result: ChatResult) => void;
  onError?: (error: AsyncChatError) => void;
  /** The answer begins anew: drop what was shown. */
  onReset?: (reset: { reason: string; taskId: string | null }) => void;
  /** The connection is made again, for the nth time without progress. */
  onReconnect?: (attempt: { attempt: number; taskId: string | null }) => void;
  /** Every event, as it came. */
  onEvent?: (event: { type: string; sequence_number: number; [field: string]: unknown }) => void;
}

export declare class AsyncChatError extends Error {
  readonly code: string;
  /** Asking again, or `resume()`, may help. */
  readonly retryable: boolean;
  readonly status: number;
  readonly taskId: string | null;
}

export declare class AsyncChatClient {
  constructor(options?: AsyncChatClientOptions);
  readonly busy: boolean;
  readonly taskId: string | null;
  sendMessage(message: string, model?: string, options?: { sessionId?: string }): Promise<ChatResult>;
  /** `null`: there is nothing to go on with. */
  resume(taskId?: string): Promise<ChatResult | null>;
  stop(): Promise<void>;
}

export interface ServerSentEvent {
  type: string;
  data: string;
  id: string;
}

/** Server-sent events, from chunks that are cut anywhere. */
export declare class EventParser {
  retry: number | null;
  feed(text: string): ServerSentEvent[];
}

export default AsyncChatClient;
