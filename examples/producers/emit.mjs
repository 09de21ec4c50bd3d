// Hands events to posthaste: node emit.mjs [FILE], an event a line, over a stream, many on their way at once.
//
// POSTHASTE_SOCKET says where the socket is.
//
// - An event is taken when it is answered with its id, not before.
// - Give each event an id of your own, and hand it in again, unchanged, when in doubt: it is taken once. "duplicate" in
//   the answer says that it was known, which is as good. Where a line has no id one is made here; for a run that can be
//   repeated as a whole the ids must be in the file.
// - `id_conflict` (409 over HTTP) says that you gave this id to another event: an error of yours, like all without
//   "retry_after".
// - Error lines with "retry_after" (408, 429, 503 and 507 over HTTP) say: not now, but in so many seconds. Keep the event.
//
// Exit codes: 0 taken, 64 wrong usage, 65 some lines were refused for good, 74 the input cannot be read, 75 not now (run it
// again), 77 not allowed.

import { randomUUID } from "node:crypto";
import { createReadStream, realpathSync } from "node:fs";
import { createConnection } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const PATIENCE = 60_000; // milliseconds without any success after which it gives up
const IN_FLIGHT = 500; // lines without an answer; the daemon has 640 on their way at most

export class NotNow extends Error {}

/// Splits bytes at line feeds alone: node:readline splits at U+2028 as well, which may stand within JSON, and makes text of
/// what is none. What has no end at the end of the stream is given if `last`; an answer that was cut short is none.
async function* linesOf(stream, last) {
    let rest = [];
    for await (const chunk of stream) {
        let from = 0;
        for (let end; (end = chunk.indexOf(10, from)) >= 0; from = end + 1) {
            yield Buffer.concat([...rest, chunk.subarray(from, end)]);
            rest = [];
        }
        rest.push(chunk.subarray(from));
    }
    if (last) yield Buffer.concat(rest);
}

/// One connection: sends what `next` gives until there is no more, or the daemon refuses for now, and calls `settle` with
/// each line and its last answer. Gives back what is to go out again, in its order, and why and when.
async function converse(path, next, settle) {
    const flying = [];
    const refused = [];
    // The first line goes alone: the connection as a whole may be refused.
    let [pause, reason, over, most] = [200, "the connection broke", false, 1];
    let wake = () => {};
    const change = () => new Promise((resolve) => (wake = resolve));
    const socket = createConnection(path);
    socket.on("drain", () => wake());
    socket.on("error", () => {}); // Who reads hears of it; so does not who has ended reading.
    socket.setTimeout(60_000, () => flying.length && socket.destroy(new Error("the daemon says nothing")));
    const reading = (async () => {
        try {
            for await (const text of linesOf(socket, false)) {
                const answer = JSON.parse(text.toString());
                const line = flying.shift();
                most = IN_FLIGHT;
                if (answer.error?.retry_after !== undefined) {
                    refused.push(line);
                    reason = answer.error.message;
                    pause = Math.max(pause, answer.error.retry_after * 1000);
                } else {
                    settle(line, answer);
                }
                wake();
            }
        } catch (error) {
            if (!refused.length) reason = error.message;
        }
        over = true;
        wake();
    })();
    while (!over && !refused.length) {
        const line = await next();
        if (line === undefined) break;
        flying.push(line);
        // Back-pressure: what the socket does not take would be kept in memory here.
        const full = !socket.write(line);
        if (full || flying.length >= most) {
            const drained = () => !socket.writableNeedDrain && flying.length < most;
            while (!over && !drained()) await change();
        }
    }
    while (!over && flying.length) await change();
    socket.destroy();
    await reading;
    return { again: [...refused, ...flying], pause, reason };
}

/// Hands in `lines`, an async iterable of events with ids, each ended by a line feed.
export async function handIn(path, lines, settle) {
    const source = lines[Symbol.asyncIterator]();
    let again = [];
    let more = true;
    let giveUp = performance.now() + PATIENCE;
    let unsettled = 0;
    const next = async () => {
        if (again.length) return again.shift();
        const { value, done } = await source.next();
        more = !done;
        // However long it took to come: that is no want of success.
        if (!unsettled) giveUp = performance.now() + PATIENCE;
        if (more) unsettled += 1;
        return value;
    };
    while (more || again.length) {
        const end = await converse(path, next, (line, answer) => {
            giveUp = performance.now() + PATIENCE;
            unsettled -= 1;
            settle(line, answer);
        });
        again = [...end.again, ...again];
        if (!again.length) continue;
        if (performance.now() + end.pause > giveUp) throw new NotNow(end.reason);
        await sleep(end.pause);
    }
}

/// Without the white space around it; String.trim() takes more, such as a byte order mark, which is no JSON.
function trim(line) {
    const blank = (byte) => byte === 32 || (byte >= 9 && byte <= 13);
    let [from, end] = [0, line.length];
    while (from < end && blank(line[from])) from += 1;
    while (from < end && blank(line[end - 1])) end -= 1;
    return line.subarray(from, end);
}

/// Lines with ids. What there is stays as it is, to the byte: what is no UTF-8 is the daemon's to refuse.
async function* withIds(stream) {
    for await (const whole of linesOf(stream, true)) {
        let line = trim(whole);
        if (!line.length) continue;
        let event;
        try {
            event = JSON.parse(line.toString());
        } catch {
            // The daemon says what is wrong with it.
        }
        const bare = event && !Array.isArray(event) && typeof event === "object" && Object.keys(event).length;
        if (bare && !("id" in event)) line = Buffer.concat([Buffer.from(`{"id":"${randomUUID()}",`), line.subarray(1)]);
        // The first byte of a connection says what is spoken; a space says lines, whatever stands in them.
        yield Buffer.concat([Buffer.from(" "), line, Buffer.from("\n")]);
    }
}

async function main(args) {
    if (args.length > 1) {
        console.error("usage: node emit.mjs [FILE]");
        return 64;
    }
    const path = process.env.POSTHASTE_SOCKET ?? "/run/posthaste/posthaste.sock";
    const input = args.length ? createReadStream(args[0]) : process.stdin;
    let code = 0;
    try {
        await handIn(path, withIds(input), (line, answer) => {
            if (!answer.error) return;
            console.error(JSON.stringify(answer.error));
            if (answer.error.code === "not_allowed") process.exit(77); // so is the next one
            code = 65;
        });
    } catch (error) {
        if (error.syscall) {
            console.error(`the input cannot be read: ${error.message}`);
            return 74;
        }
        if (!(error instanceof NotNow)) throw error;
        console.error(`not now: ${error.message}`);
        return 75;
    }
    return code;
}

// Run, and not imported; by whatever link.
if (import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) process.exit(await main(process.argv.slice(2)));
