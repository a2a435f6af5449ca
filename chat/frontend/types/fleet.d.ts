/** What the console's pages of workers begin with, and what their websocket tells them. */

/** `ShownWorker` in `controller/fleet/board.py`. */
export interface Worker {
  id: string;
  address: string;
  host: string;
  models: string[];
  state: string;
  running: number;
  waiting: number;
  max_concurrency: number;
  in_flight: number;
  kv: number | null;
  hit_rate: number | null;
  tokens_per_second: number | null;
  ttft: number | null;
  num_requests: number;
  num_errors: number;
  restarts: number;
  engine: string;
  version: string;
  heartbeat_at: number;
  weight: number;
  progress: number | null;
  breaker: string;
  breaker_reason: string;
  is_draining: boolean;
  is_rotating: boolean;
  is_ours: boolean;
}

/** Values of the last hour, oldest first; null is a gap. */
export interface Series {
  tokens_per_second: (number | null)[];
  queue: (number | null)[];
  ttft: (number | null)[];
}

export interface UnderWay {
  id: string;
  model: string;
  face: string;
  endpoint: string;
  tokens: number;
  began_at: number;
}

export interface Workers {
  type: "workers";
  now: number;
  is_all: boolean;
  workers: Worker[];
  gone: string[];
}
export interface Requests {
  type: "requests";
  requests: UnderWay[];
}
export interface Log {
  type: "log";
  lines: string[];
  at: number;
}
export type Told = Workers | Requests | Log;

export type Link = "connected" | "away" | "signedOut";

/** `fleet_words` in `controller/admin/fleet_words.py`. */
export interface Words extends Record<Link, string> {
  states: Record<string, string>;
  colours: Record<string, string>;
  breakers: Record<string, string>;
  decisions: Record<string, { title: string; text: string; button: string }>;
  durations: [number, string][];
  ago: string;
  seconds: string;
  workers: string;
  worker: string;
  failed: string;
  logAsked: string;
  logEmpty: string;
  logAt: string;
  noRequests: string;
}

export interface Page {
  socket: string;
  now: number;
  mayChange: boolean;
  workerUrl: string;
  words: Words;
  workers: Worker[];
  /** On the page of all workers. */
  sparks?: Record<string, Series>;
}

/** What the page that waits for a new worker is told. */
export interface Arrival {
  state: string;
  title: string;
  advice: string;
  url: string;
}
