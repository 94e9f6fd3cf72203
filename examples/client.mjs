// A client in Node, standard library only: asks a twin through the gateway on this Redis and prints the answer.
//
//   node client.mjs HOST:PORT TWIN COMMAND [DATA]
//
// Exit code: 0 answered, 1 error answer or no Redis, 2 wrong usage, 3 no answer within 30 seconds.

import { randomUUID } from "node:crypto";
import { connect } from "node:net";

const LIFETIME_S = 30;

/** Reads replies of the Redis protocol (RESP2) from bytes that arrive in any pieces. */
class Replies {
  #bytes = Buffer.alloc(0);
  #waiting = [];

  feed(chunk) {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      const found = this.#parse(0);
      if (found === null) return;
      this.#bytes = this.#bytes.subarray(found.end);
      const { resolve, reject } = this.#waiting.shift();
      if (found.value instanceof Error) reject(found.value);
      else resolve(found.value);
    }
  }

  next() {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  /** One reply that begins at `start`: its value and where it ends, or null while bytes are missing. */
  #parse(start) {
    const lineEnd = this.#bytes.indexOf("\r\n", start);
    if (lineEnd < 0) return null;
    const kind = String.fromCharCode(this.#bytes[start]);
    const line = this.#bytes.toString("utf8", start + 1, lineEnd);
    let end = lineEnd + 2;
    switch (kind) {
      case "+":
        return { value: line, end };
      case "-":
        return { value: new Error(line), end };
      case ":":
        return { value: Number(line), end };
      case "$": {
        const size = Number(line);
        if (size < 0) return { value: null, end };
        if (this.#bytes.length < end + size + 2) return null;
        return { value: this.#bytes.subarray(end, end + size), end: end + size + 2 };
      }
      case "*": {
        if (Number(line) < 0) return { value: null, end };
        const values = [];
        for (let count = Number(line); count > 0; count -= 1) {
          const item = this.#parse(end);
          if (item === null) return null;
          values.push(item.value);
          end = item.end;
        }
        return { value: values, end };
      }
      default:
        throw new Error(`not a Redis server: it says ${JSON.stringify(kind + line)}`);
    }
  }
}

/** A connection with one method: send a command, wait for its reply. */
function openRedis(host, port) {
  const replies = new Replies();
  const socket = connect(port, host);
  socket.on("data", (chunk) => {
    try {
      replies.feed(chunk);
    } catch (error) {
      replies.fail(error);
      socket.destroy();
    }
  });
  socket.on("error", (error) => replies.fail(error));
  socket.on("close", () => replies.fail(new Error("Redis closed the connection")));
  return {
    async command(...words) {
      const reply = replies.next();
      const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
      socket.write(`*${words.length}\r\n${parts.join("")}`);
      return reply;
    },
    close: () => socket.end(),
  };
}

async function ask(redis, twin, command, data) {
  const list = `answers.${randomUUID()}`; // nobody else waits on this list
  const request = {
    ver: 1,
    ref: null, // comes back with the answer; one list per question needs none
    cmd: command,
    exp: LIFETIME_S,
    dat: Buffer.from(data).toString("base64"),
    tag: null,
    dst: [twin],
    ret: list,
    shm: "application/json",
    now: 0, // the gateway's clock
  };
  try {
    await redis.command("LPUSH", "msgbus.system.local", JSON.stringify(request));
    const popped = await redis.command("BLPOP", list, LIFETIME_S);
    return popped && JSON.parse(popped[1].toString("utf8"));
  } finally {
    await redis.command("DEL", list).catch(() => {});
  }
}

async function main([address, twin, command, data = ""]) {
  const [, host, port] = /^(.+):(\d+)$/.exec(address ?? "") ?? [];
  if (!host || !/^[1-9]\d*$/.test(twin ?? "") || !command) {
    console.error("usage: node client.mjs HOST:PORT TWIN COMMAND [DATA]");
    return 2;
  }
  const redis = openRedis(host, Number(port));
  try {
    const answer = await ask(redis, Number(twin), command, data);
    if (!answer) {
      console.error(`no answer within ${LIFETIME_S} s`);
      return 3;
    }
    if (answer.err) {
      console.error(`error ${answer.err.code}: ${answer.err.message}`);
      return 1;
    }
    process.stdout.write(Buffer.from(answer.dat, "base64"));
    return 0;
  } catch (error) {
    console.error(`cannot use Redis at ${address}: ${error.message}`);
    return 1;
  } finally {
    redis.close();
  }
}

process.exitCode = await main(process.argv.slice(2));
