/** What the page and the server say to each other over the websocket: `chat/protocol.py`. */

import type { Comparison } from "../../static/chat/js/comparison.js";
import type { Message } from "../../static/chat/js/message.js";
import type { Model } from "../../static/chat/js/models.js";
import type { Setup } from "../../static/chat/js/setup.js";

export interface Conversation {
  id: string;
  title: string;
  model: string;
  updated_at: string;
  is_temporary: boolean;
}

export type Opinion = Pick<Message, "rating" | "rating_reason" | "is_flagged">;

/** An answer's place in line; position 0: it is its turn. */
export interface Place {
  position: number;
  length: number;
  seconds: number | null;
}

/** A piece of text, with the number of code points before it. */
export interface Piece {
  message: string;
  at: number;
  text: string;
}

/** The messages of a path behind `after`; where that is null, its last page. */
export interface Path {
  conversation: Conversation;
  after: string | null;
  messages: Message[];
  has_earlier: boolean;
  comparison: Comparison | null;
}

export interface EarlierPage {
  before: string;
  messages: Message[];
  has_earlier: boolean;
}

/** What the server sends, by its `type`. */
export interface Events {
  models: { models: Model[] };
  started: { ref: number; conversation: string; message: string };
  conversation: Path;
  earlier: EarlierPage;
  waiting: Place & { message: string };
  delta: Piece;
  reasoning: Piece;
  thought: { message: string; seconds: number };
  moving: { message: string };
  moved: { message: string };
  settled: { message: Message };
  judged: Opinion & { message: string };
  titled: { conversation: string; title: string };
  changed: { conversation: string };
  error: { ref: number; code: string; message: string };
}

export type ServerEvent = { [T in keyof Events]: { type: T } & Events[T] }[keyof Events];
export type Handlers = { [T in keyof Events]: (event: Events[T]) => unknown };

interface NewPrompt {
  conversation: string | null;
  text: string;
  attachments: string[];
  setup: Setup;
  is_temporary: boolean;
}

/** A model that is asked beside others, with parameters of its own. */
export interface Slot {
  model: string;
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  seed?: number;
}

/** What asks for an answer; it bears a number, which the server's answer repeats. */
export type Asking =
  | ({ type: "send"; model: string } & NewPrompt)
  | ({ type: "compare"; slots: Slot[] } & NewPrompt)
  | { type: "retry"; message: string; model: string }
  | { type: "edit"; message: string; model: string; text: string }
  | { type: "continue"; message: string; text: string };

export type Outcome = "winner" | "tie" | "all_bad";

/** What the page sends. */
export type ClientMessage =
  | (Asking & { ref: number })
  | { type: "stop" | "choose" | "delete" | "restore"; message: string }
  | { type: "rate"; message: string; rating: -1 | 0 | 1; reason: string }
  | { type: "flag"; message: string; reason: string }
  | { type: "vote"; prompt: string; outcome: Outcome; winner: string | null }
  | { type: "attach"; conversation: string; after: string | null }
  | { type: "earlier"; conversation: string; before: string }
  | { type: "ping" };

/** What the page begins with: `page_fields` in `chat/views.py`. */
export interface Page {
  home: string;
  signIn: string;
  canManageShelves: boolean;
  socket: string;
  user: number;
  currency: string;
  models: Model[];
  conversation: Conversation | null;
  messages: Message[];
  hasEarlier: boolean;
  comparison: Comparison | null;
  setup: Setup;
  isTemporary: boolean;
  maxPromptChars: number;
  maxAttachments: number;
  maxAttachmentBytes: number;
}
