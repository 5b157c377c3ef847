'use strict';

// Keep the dependencies that WildDuck's IMAP and POP3 servers load. The others are for its database and its API.
const fs = require('fs');

const LOADED = [
    'base32.js', 'gelf', 'he', 'html-to-text', 'iconv-lite', 'libbase64', 'libmime', 'libqp', 'nodemailer',
    'punycode.js', 'wild-config'
];
const path = process.argv[2];
const settings = JSON.parse(fs.readFileSync(path, 'utf8'));
settings.dependencies = Object.fromEntries(LOADED.map(name => [name, settings.dependencies[name]]));
delete settings.devDependencies;
delete settings.scripts;
fs.writeFileSync(path, JSON.stringify(settings, null, 2));
