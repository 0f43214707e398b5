import { assertEquals } from "@std/assert";
import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { Client } from "../../ui/client.ts";

/** A connection whose other end takes what was written when it is told to. */
class Connection extends EventEmitter {
  destroyed = false;
  writableEnded = false;
  readonly written: number[] = [];

  write(bytes: Uint8Array): boolean {
    this.written.push(...bytes);
    return false;
  }

  destroy(): void {
    this.destroyed = true;
  }

  end(): void {
    this.writableEnded = true;
  }
}

/** A client, and what can be done to it. */
function connect() {
  const connection = new Connection();
  let seconds = 0;
  const client = new Client(connection as unknown as ServerResponse, 0, () => 1000 * seconds);
  return { connection, client, wait: (more: number) => seconds += more };
}

Deno.test("Client sends everything to one that takes it slowly, the news after it, and then ends", () => {
  const { connection, client, wait } = connect();
  const everything = Uint8Array.from({ length: 500_000 }, (_, i) => i >> 12);
  client.begin(everything);
  for (let minute = 0; minute < 10; minute++) {
    client.send(Uint8Array.of(200 + minute));
    wait(50);
    connection.emit("drain");
  }
  client.end();
  client.send(Uint8Array.of(255)); // too late
  for (let i = 0; i < 20; i++) connection.emit("drain");
  assertEquals([connection.destroyed, connection.writableEnded], [false, true]);
  const news = Array.from({ length: 10 }, (_, minute) => 200 + minute);
  assertEquals(connection.written, [...everything, ...news]);
});

Deno.test("Client cuts off one that takes nothing for a minute, or that the news run away from", () => {
  const news = new Uint8Array(2 ** 20);
  const silent = connect();
  silent.client.begin(new Uint8Array(100_000));
  silent.wait(59);
  silent.client.send(news);
  assertEquals(silent.connection.destroyed, false);
  silent.wait(2);
  silent.client.send(news);
  assertEquals([silent.connection.destroyed, silent.client.isOpen], [true, false]);

  const slow = connect();
  slow.client.begin(new Uint8Array(100_000_000)); // what it is told first may be as long as it is
  for (let i = 0; i < 100 && !slow.connection.destroyed; i++) {
    slow.client.send(news);
    slow.connection.emit("drain");
    assertEquals(slow.connection.destroyed, i > 16, String(i));
  }
});
