/** The messages that an actor understands, as types. */

/**
 * One message of a protocol, as a pair of types: what is sent, and what an `ask` gets back. A protocol is an object type
 * of these: `type Encoder = { encode: Message<Batch>; shape: Message<void, number[]> }`.
 */
export interface Message<Payload = void, Reply = void> {
  /** What the sender sends. */
  payload: Payload;
  /** What the handler returns. */
  reply: Reply;
}

/** Any protocol: messages by name. */
export type Protocol<P> = Record<keyof P, Message<unknown, unknown>>;

/** The names of a protocol's messages. */
export type MessageName<P> = keyof P & string;
