// What llhttp, as Node.js has it, makes of request heads. Argument: a file of records, each of the length of an input, the
// length of the head that is said to be in it (0: none), both of four bytes, and the input. Prints a line for each:
//
//   more | refused CODE | ok VERSION METHOD TARGET PERSISTS FRAMING ENDS NAME:VALUE,...   (texts in hexadecimal)
//
// FRAMING is what came of the bytes of a chunk of one byte and a last chunk behind the head. ENDS: whether the head is
// whole with its last byte and not before.
'use strict';
let binding;
// Differences between versions of llhttp are none of ours: the table is about this one.
if (!process.versions.llhttp?.startsWith('9.')) process.exit(77);
try {
  binding = process.binding('http_parser');
} catch {
  process.exit(77);
}
const { HTTPParser } = binding;
const methods = binding.allMethods ?? binding.methods;
const PROBE = Buffer.from('1\r\nX\r\n0\r\n\r\n');

function parser() {
  const parser = new HTTPParser();
  const seen = { head: null, fields: [], target: '', body: '', isComplete: false };
  parser.initialize(HTTPParser.REQUEST, {}, 1 << 20, 0);
  parser[HTTPParser.kOnHeaders | 0] = (fields, target) => {
    seen.fields.push(...fields);
    seen.target += target;
  };
  parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, fields, method, target, _s, _m, _u, persists) => {
    if (seen.head === null) {
      seen.fields.push(...(fields ?? []));
      seen.target += target ?? '';
      seen.head = { version: `${major}.${minor}`, method: methods[method], persists };
    }
    return 0;
  };
  parser[HTTPParser.kOnBody | 0] = (bytes) => { seen.body += bytes.toString('latin1'); };
  parser[HTTPParser.kOnMessageComplete | 0] = () => { seen.isComplete = true; };
  return { parser, seen };
}

function framing(head) {
  const { parser: fresh, seen } = parser();
  fresh.execute(head);
  if (seen.isComplete) return 'none';
  fresh.execute(PROBE);
  if (seen.body === 'X') return 'chunked';
  return seen.isComplete ? `length-${seen.body.length}` : 'length';
}

function read(input, headBytes) {
  const { parser: fresh, seen } = parser();
  const result = fresh.execute(input);
  if (seen.head === null) return result instanceof Error ? `refused ${result.code}` : 'more';
  const hex = (text) => Buffer.from(text, 'latin1').toString('hex');
  let ends = false;
  if (headBytes > 0) {
    const { parser: slow, seen: early } = parser();
    slow.execute(input.subarray(0, headBytes - 1));
    const isEarly = early.head !== null;
    slow.execute(input.subarray(headBytes - 1, headBytes));
    ends = !isEarly && early.head !== null;
  }
  const lines = [];
  for (let at = 0; at < seen.fields.length; at += 2) {
    lines.push(`${hex(seen.fields[at].toLowerCase())}:${hex(seen.fields[at + 1])}`);
  }
  const { version, method, persists } = seen.head;
  const framed = headBytes > 0 ? framing(input.subarray(0, headBytes)) : 'unknown';
  return `ok ${version} ${hex(method)} ${hex(seen.target)} ${persists} ${framed} ${ends} ${lines.join(',')}`;
}

const records = require('fs').readFileSync(process.argv[2]);
const verdicts = [];
for (let at = 0; at < records.length;) {
  const [length, headBytes] = [records.readUInt32BE(at), records.readUInt32BE(at + 4)];
  verdicts.push(read(records.subarray(at + 8, at + 8 + length), headBytes));
  at += 8 + length;
}
console.log(verdicts.join('\n'));
