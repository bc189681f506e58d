// What a publisher says on one link: each message is parsed, and every field of every record is read.
import { Decoder, addExtension, decode } from 'msgpackr';

const TABLE_FIXED_STRUCTURE = 132;
const SEQUENCE_ID_UPDATE = 143;

// Types and flags of an entry (protocol.md section 5).
const SEQUENCE_TERMINATOR = 11;
const TYPE = 0x0f;
const FULL_RECORD = 0x10, PARTIAL_RECORD = 0x20;
const RESIDENCY = 0x200, PREVIOUS_RESIDENCY = 0x400, EXPIRATION = 0x1000;

/** A reference to a blob, whose bytes come in messages of their own (protocol.md section 3.10). */
class BlobReference {
	constructor([properties, , file]) {
		this.properties = properties;
		this.file = file;
	}
}
addExtension({
	Class: BlobReference,
	type: 11,
	unpack: (payload) => new BlobReference(decode(payload)),
	pack: () => {
		throw new Error('only read here');
	},
});

export class Link {
	constructor() {
		this.decoders = new Map();
		this.messages = 0;
		this.records = 0;
		this.fields = 0;
		this.textLength = 0;
		this.isAtEnd = false;
		this.position = 0;
	}

	/** Takes a whole message, a Buffer. */
	message(bytes) {
		this.messages++;
		if (bytes[0] > 127) this.command(bytes);
		else this.transaction(bytes);
	}

	command(bytes) {
		const [code, ...rest] = decode(bytes);
		if (code === TABLE_FIXED_STRUCTURE) {
			const [{ typedStructs, structures }, table] = rest;
			const decoder = new Decoder({
				useBigIntExtension: true,
				randomAccessStructure: true,
				structures: structures ?? [],
				getStructures: () => structures ?? [],
			});
			decoder.typedStructs = typedStructs ?? [];
			this.decoders.set(table, decoder);
		} else if (code === SEQUENCE_ID_UPDATE) {
			this.isAtEnd = true;
		}
	}

	transaction(bytes) {
		this.position = 8;
		while (this.position < bytes.length) {
			const length = this.integer(bytes);
			const end = this.position + length;
			this.entry(bytes, end);
			this.position = end;
		}
	}

	entry(bytes, end) {
		const action = this.integer(bytes);
		if ((action & TYPE) === SEQUENCE_TERMINATOR) return;
		this.integer(bytes); // the origin
		const decoder = this.decoders.get(this.integer(bytes));
		const keyLength = this.integer(bytes);
		this.position += keyLength + 8; // the id, and the version
		if (action & RESIDENCY) this.integer(bytes);
		if (action & PREVIOUS_RESIDENCY) this.integer(bytes);
		if (action & EXPIRATION) this.position += 8;
		const userLength = this.integer(bytes);
		this.position += userLength;
		this.records++;
		if (action & (FULL_RECORD | PARTIAL_RECORD)) {
			this.read(decoder.decode(bytes.subarray(this.position, end)));
		}
	}

	/** An integer of 1 to 5 bytes, big-endian. */
	integer(bytes) {
		const first = bytes[this.position];
		if (first < 0x80) {
			this.position++;
			return first;
		}
		if (first < 0xc0) {
			const value = ((first & 0x3f) << 8) | bytes[this.position + 1];
			this.position += 2;
			return value;
		}
		if (first < 0xff) {
			const value = bytes.readUInt32BE(this.position) & 0x3fffffff;
			this.position += 4;
			return value;
		}
		const value = bytes.readUInt32BE(this.position + 1);
		this.position += 5;
		return value;
	}

	/** Comes upon every field, as deep as they go. */
	read(value) {
		if (typeof value === 'string') {
			this.textLength += value.length;
		} else if (typeof value === 'object' && value !== null) {
			for (const name in value) {
				this.fields++;
				this.read(value[name]);
			}
		}
	}
}
