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

readline.createInterface({ input: process.stdin }).on('line', port => {
    const server = hoodiecrow({
        plugins: ['ID', 'STARTTLS', 'UIDPLUS', 'IDLE', 'LITERALPLUS', 'NAMESPACE', 'UNSELECT'],
        credentials: { cert, key },
        users: { [name]: { password } }
    });
    server.listen(Number(port), '127.0.0.1', () => console.log(port));
});
console.log('ready');
