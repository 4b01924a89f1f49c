// Perfetto's trace processor, asked in SQL:
//
//   node perfetto_query.js FOLDER TRACE QUERY...
//
// prints the rows of each query's table as JSON. FOLDER holds what the viewer at ui.perfetto.dev loads, of which
// engine_bundle.js is a web worker around the processor. Here it gets what a worker has as far as it uses it; it
// is spoken to as by the viewer, in messages of protos/perfetto/trace_processor/trace_processor.proto. All of it
// is synchronous.

const fs = require('fs'), path = require('path'), vm = require('vm');
const [folder, trace, ...queries] = process.argv.slice(2);

function varint(value) {
    const bytes = [];
    for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
    return Buffer.from([...bytes, value]);
}

function field(number, value) {
    return Buffer.isBuffer(value)
        ? Buffer.concat([varint(number * 8 + 2), varint(value.length), value])
        : Buffer.concat([varint(number * 8), varint(value)]);
}

// Of one number (signed, of 64 bits) after the other.
function* varints(bytes) {
    let value = 0n, shift = 0n;
    for (const byte of bytes) {
        value |= BigInt(byte % 128) << shift;
        shift += 7n;
        if (byte < 128) {
            yield Number(BigInt.asIntN(64, value));
            value = shift = 0n;
        }
    }
}

// The values of a message by number of the field, each a list of numbers and buffers.
function message(bytes) {
    const fields = {};
    for (let at = 0; at < bytes.length;) {
        const number = () => {
            const from = at;
            while (bytes[at++] > 127);
            return varints(bytes.subarray(from, at)).next().value;
        };
        const key = number();
        let value;
        if (key % 8 === 0) value = number();
        else if (key % 8 === 2) {
            const length = number();
            value = bytes.subarray(at, at += length);
        } else throw Error(`a field of kind ${key % 8}`);
        (fields[key >> 3] ??= []).push(value);
    }
    return fields;
}

const worker = {
    TextDecoder, TextEncoder, URL, WorkerGlobalScope: {}, crypto: require('crypto').webcrypto, performance, setTimeout,
    // It talks of its own progress.
    console: {log() {}, warn() {}, error() {}},
    location: {href: 'http://localhost/engine_bundle.js'},
    XMLHttpRequest: class {
        open(_, name) {
            this.name = path.basename(name);
        }
        send() {
            this.response = fs.readFileSync(path.join(folder, this.name));
        }
    },
};
worker.self = vm.createContext(worker);
const bundle = fs.readFileSync(path.join(folder, 'engine_bundle.js'), 'utf8');

const replies = [];
const port = {
    postMessage(bytes) {
        for (const reply of message(Buffer.from(bytes))[1]) replies.push(message(reply));
    },
};

// TraceProcessorRpcStream.msg: the kind of a request, and its own message.
let requests = 0;
function ask(kind, ...rest) {
    const request = Buffer.concat([field(1, requests++), field(2, kind), ...rest]);
    const copy = worker.Uint8Array.from(field(1, request));
    replies.length = 0;
    port.onmessage({data: copy});
    for (const reply of replies) if (reply[5]) throw Error(`it failed: ${reply[5][0]}`);
    return replies;
}

const APPEND = 1, FINALIZE = 2, QUERY = 3;
const NULL = 1, INTEGER = 2, FLOAT = 3, STRING = 4;

// QueryResult: the cells of all rows in one list, their values in lists by their type.
function rows(sql) {
    const table = [];
    let width = 0;
    for (const reply of ask(QUERY, field(103, field(1, Buffer.from(sql))))) {
        const result = message(reply[203][0]);
        if (result[2]) throw Error(`${sql}: ${result[2][0]}`);
        width ||= result[1].length;
        for (const batch of result[3].map(message)) {
            const integers = varints(Buffer.concat(batch[2] ?? []));
            const floats = Buffer.concat(batch[3] ?? []);
            const strings = Buffer.concat(batch[5] ?? []).toString().split('\0');
            let float = 0;
            for (const cell of Buffer.concat(batch[1] ?? [])) {
                if (table.length === 0 || table.at(-1).length === width) table.push([]);
                table.at(-1).push({
                    [NULL]: () => null,
                    [INTEGER]: () => integers.next().value,
                    [FLOAT]: () => floats.readDoubleLE(8 * float++),
                    [STRING]: () => strings.shift(),
                }[cell]());
            }
        }
    }
    return table;
}

vm.runInContext('globalThis.Uint8Array = Uint8Array', worker);
vm.runInContext(bundle, worker);
// It is there once all that it has put off is done.
setImmediate(() => {
    worker.onmessage({data: port});
    const result = ask(APPEND, field(101, fs.readFileSync(trace)))[0];
    const error = message(result[201][0])[2];
    if (error) throw Error(`${trace}: ${error[0]}`);
    ask(FINALIZE);
    console.log(JSON.stringify(queries.map(rows)));
});
