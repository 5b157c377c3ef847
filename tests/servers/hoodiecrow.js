'use strict';

// hoodiecrow serves one account. Each port number on the standard input starts another server.
// Arguments: hoodiecrow's folder, certificate, key, user name, password.
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const [folder, certificate, privateKey, name, password] = process.argv.slice(2);
const hoodiecrow = require(path.join(folder, 'node_modules/hoodiecrow-imap'));
const cert = fs.readFileSync(certificate);
const key = fs.readFileSync(privateKey);

// The standard output is for replies to the test. What hoodiecrow writes to it goes to the log.
const { stdout } = process;
const reply = line => stdout.write(`${line}\n`);
Object.defineProperty(process, 'stdout', { value: process.stderr });
console.log = console.error;

readline.createInterface({ input: process.stdin }).on('line', port => {
    const server = hoodiecrow({
        debug: true,
        plugins: ['ID', 'STARTTLS', 'UIDPLUS', 'IDLE', 'LITERALPLUS', 'NAMESPACE', 'UNSELECT'],
        credentials: { cert, key },
        users: { [name]: { password } }
    });
    server.listen(Number(port), '127.0.0.1', () => reply(port));
});
reply('ready');
