// node main.mjs decode FILE MESSAGES REPEAT     the messages of a file, from memory
// node main.mjs receive URL NODE DATABASE       what a publisher sends
// One line of JSON says how long it took, what was seen, and whether strings were decoded by native code.
import { readFileSync } from 'node:fs';
import { encode, isNativeAccelerationEnabled } from 'msgpackr';
import WebSocket from 'ws';
import { Link } from './link.mjs';

const NODE_NAME = 140;
const SUBSCRIPTION_REQUEST = 129;
// The publisher's greeting and schema, and its last message: they are not counted.
const NOT_OF_THE_SET = 3;
const SUBPROTOCOL = 'harperdb-replication-v1';

function decodeFile(file, count, repeat) {
	const bytes = readFileSync(file);
	const messages = [];
	for (let at = 0; at < bytes.length && messages.length < count; ) {
		const start = at + 4;
		at = start + bytes.readUInt32LE(at);
		messages.push(bytes.subarray(start, at));
	}
	return () => {
		const link = new Link();
		const start = now();
		for (let turn = 0; turn < repeat; turn++) for (const message of messages) link.message(message);
		return report(link, start);
	};
}

function receive(url, node, database) {
	return new Promise((resolve, reject) => {
		const link = new Link();
		const start = now();
		const socket = new WebSocket(url, SUBPROTOCOL, { perMessageDeflate: false, maxPayload: 0 });
		socket.on('error', reject);
		socket.on('open', () => {
			socket.send(encode([NODE_NAME, node, database, []]));
			const all = { name: '', replicateByDefault: true, tables: [], startTime: 1 };
			socket.send(encode([SUBSCRIPTION_REQUEST, [all], [node]]));
		});
		socket.on('message', (message) => {
			link.message(message);
			if (link.isAtEnd) {
				link.messages -= NOT_OF_THE_SET;
				resolve(report(link, start));
				socket.terminate();
			}
		});
		socket.on('close', () => reject(new Error('the publisher ended the link')));
	});
}

function now() {
	return { time: performance.now(), cpu: process.cpuUsage() };
}

function report(link, start) {
	const seconds = (performance.now() - start.time) / 1e3;
	const { user, system } = process.cpuUsage(start.cpu);
	const { messages, records, fields } = link;
	return {
		seconds,
		cpu_seconds: (user + system) / 1e6,
		messages,
		records,
		fields,
		text_length: link.textLength,
		is_native: isNativeAccelerationEnabled,
	};
}

const [mode, ...rest] = process.argv.slice(2);
let pass;
if (mode === 'decode') {
	const [file, count, repeat] = rest;
	pass = decodeFile(file, Number(count), Number(repeat));
} else if (mode === 'receive') {
	pass = () => receive(...rest);
} else {
	throw new Error(`unknown mode ${mode}`);
}
await pass(); // until the compiler has seen it
console.log(JSON.stringify(await pass()));
