'use strict';

// WildDuck's IMAP and POP3 servers with accounts in memory. Any name can sign in with the password; its account is empty.
// A name that begins with "nomove" may not use MOVE.
// Arguments: WildDuck's folder, the ports of IMAP, IMAPS, POP3 and POP3S, certificate, key, password.
const { EventEmitter } = require('events');
const fs = require('fs');
const path = require('path');
const { Readable } = require('stream');
const tls = require('tls');

const [folder, imap, imaps, pop3, pop3s, certificate, privateKey, password] = process.argv.slice(2);
process.chdir(folder);
const { IMAPServer } = require(path.join(folder, 'imap-core'));
const imapHandler = require(path.join(folder, 'imap-core/lib/handler/imap-handler'));
const parseMimeTree = require(path.join(folder, 'imap-core/lib/indexer/parse-mime-tree'));
const POP3Server = require(path.join(folder, 'lib/pop3/server'));

const CHUNK = 64 * 1024; // the bytes that its database returns at a time
const accounts = new Map(); // by name
const folders = new Map(); // by ID
const cert = fs.readFileSync(certificate);
const key = fs.readFileSync(privateKey);
const context = tls.createSecureContext({ cert, key });
const log = (_entry, ...message) => console.error(...message);
const logger = { info: log, debug: log, error: log };
let uidValidity = 1700000000;

function newFolder(user, name) {
    const made = { _id: `${user}/${name}`, user, path: name, uidValidity: uidValidity++, uidNext: 1, modifyIndex: 1 };
    Object.assign(made, { messages: [], journal: [] });
    folders.set(made._id, made);
    return made;
}

function account(name) {
    if (!accounts.has(name)) {
        accounts.set(name, { folders: new Map([['INBOX', newFolder(name, 'INBOX')]]) });
    }
    return accounts.get(name);
}

const foldersOf = session => account(session.user.id).folders;

function onAuth(login, session, callback) {
    callback(null, login.password === password && { user: { id: login.username, username: login.username } });
}

// Notifies each session of an account of changes by other sessions.
class Notifier extends EventEmitter {
    addListener(session, handler) {
        return this.on(session.user.id, handler);
    }

    removeListener(session, handler) {
        return this.off(session.user.id, handler);
    }

    record(changed, entries) {
        for (const entry of entries) {
            changed.journal.push({ ...entry, modseq: ++changed.modifyIndex });
        }
        setImmediate(() => this.emit(changed.user));
    }

    getUpdates(id, index, callback) {
        callback(null, folders.get(id).journal.filter(entry => entry.modseq > index));
    }
}

function imapServer(options) {
    const server = new IMAPServer({ ...options, id: { name: 'WildDuck' } });
    const notifier = new Notifier();
    notifier.setMaxListeners(0);
    server.notifier = notifier;
    server.loggelf = () => false;
    server.on('error', error => console.error('IMAP error', error));
    server.onAuth = onAuth;

    server.onList = (query, session, callback) => callback(null, foldersOf(session));
    server.onLsub = server.onList;
    server.onSubscribe = (name, session, callback) => callback(null, true);
    server.onUnsubscribe = server.onSubscribe;
    server.onCreate = (name, session, callback) => {
        if (foldersOf(session).has(name)) {
            return callback(null, 'ALREADYEXISTS');
        }
        foldersOf(session).set(name, newFolder(session.user.id, name));
        callback(null, true);
    };
    server.onOpen = (name, session, callback) => {
        const folder = foldersOf(session).get(name);
        callback(null, folder ? { ...folder, uidList: folder.messages.map(message => message.uid) } : 'NONEXISTENT');
    };
    server.onStatus = (name, session, callback) => {
        const folder = foldersOf(session).get(name);
        const unseen = folder && folder.messages.filter(message => !message.flags.includes('\\Seen')).length;
        callback(null, folder ? { ...folder, messages: folder.messages.length, unseen } : 'NONEXISTENT');
    };

    const add = (target, flags, raw) => {
        const message = {
            uid: target.uidNext++,
            modseq: target.modifyIndex + 1,
            idate: new Date(),
            flags: [...flags],
            raw,
            size: raw.length,
            mimeTree: parseMimeTree(raw)
        };
        target.messages.push(message);
        notifier.record(target, [{ command: 'EXISTS', uid: message.uid }]);
        return message.uid;
    };
    server.onAppend = (name, flags, date, raw, session, callback) => {
        const target = foldersOf(session).get(name);
        if (!target) {
            return callback(null, 'TRYCREATE');
        }
        const data = Buffer.isBuffer(raw) ? raw : Buffer.from(raw, 'binary');
        callback(null, true, { uidValidity: target.uidValidity, uid: add(target, flags, data) });
    };
    server.onStore = (id, update, session, callback) => {
        const opened = folders.get(id);
        for (const message of opened.messages.filter(each => update.messages.includes(each.uid))) {
            const others = message.flags.filter(flag => !update.value.includes(flag));
            message.flags = update.action === 'remove' ? others : others.concat(update.value);
            if (update.action === 'set') {
                message.flags = [...update.value];
            }
            message.modseq = opened.modifyIndex + 1;
            if (!update.silent) {
                const uid = update.isUid ? message.uid : false;
                session.writeStream.write(session.formatResponse('FETCH', message.uid, { uid, flags: message.flags }));
            }
            const entry = { command: 'FETCH', ignore: session.id, uid: message.uid, flags: message.flags };
            notifier.record(opened, [entry]);
        }
        callback(null, true, []);
    };
    const expunge = (session, id, uids, silent) => {
        const opened = folders.get(id);
        opened.messages = opened.messages.filter(message => !uids.includes(message.uid));
        if (!silent) {
            uids.forEach(uid => session.writeStream.write(session.formatResponse('EXPUNGE', uid)));
        }
        notifier.record(opened, uids.map(uid => ({ command: 'EXPUNGE', ignore: session.id, uid })));
    };
    server.onExpunge = (id, update, session, callback) => {
        const flagged = folders.get(id).messages.filter(message => message.flags.includes('\\Deleted'));
        const chosen = flagged.filter(message => !update.isUid || update.messages.includes(message.uid));
        expunge(session, id, chosen.map(message => message.uid), update.silent);
        callback(null, true);
    };
    const copy = (id, update, session) => {
        const target = foldersOf(session).get(update.destination);
        if (!target) {
            return 'TRYCREATE';
        }
        const chosen = folders.get(id).messages.filter(message => update.messages.includes(message.uid));
        return {
            uidValidity: target.uidValidity,
            sourceUid: chosen.map(message => message.uid),
            destinationUid: chosen.map(message => add(target, message.flags, message.raw))
        };
    };
    server.onCopy = (connection, id, update, session, callback) => {
        const result = copy(id, update, session);
        typeof result === 'string' ? callback(null, result) : callback(null, true, result);
    };
    server.onMove = (id, update, session, callback) => {
        if (session.user.id.startsWith('nomove')) {
            return callback(null, 'CANNOT');
        }
        const result = copy(id, update, session);
        if (typeof result === 'string') {
            return callback(null, result);
        }
        expunge(session, id, result.sourceUid, false);
        callback(null, true, result);
    };
    server.onFetch = (id, options, session, callback) => {
        const chosen = folders.get(id).messages.filter(message => options.messages.includes(message.uid));
        const next = () => {
            const message = chosen.shift();
            if (!message) {
                return callback(null, true);
            }
            if (options.markAsSeen && !message.flags.includes('\\Seen')) {
                message.flags.push('\\Seen');
            }
            const values = session.getQueryResponse(options.query, message);
            const answer = session.formatResponse('FETCH', message.uid, { query: options.query, values });
            session.writeStream.write(imapHandler.compileStream(answer), () => setImmediate(next));
        };
        next();
    };
    server.onSearch = (id, options, session, callback) => {
        const messages = [...folders.get(id).messages];
        const uidList = [];
        const next = () => {
            const message = messages.shift();
            if (!message) {
                return callback(null, { uidList, highestModseq: 0 });
            }
            session.matchSearchQuery(message, options.query, (error, match) => {
                if (match) {
                    uidList.push(message.uid);
                }
                next();
            });
        };
        next();
    };
    return server;
}

function pop3Server(options) {
    const server = new POP3Server({
        ...options,
        onAuth,
        onListMessages(session, callback) {
            const messages = account(session.user.id).folders.get('INBOX').messages.map(message => ({
                id: `${session.user.id}-${message.uid}`,
                uid: message.uid,
                size: message.size,
                seen: message.flags.includes('\\Seen'),
                raw: message.raw
            }));
            const size = messages.reduce((sum, message) => sum + message.size, 0);
            callback(null, { messages, count: messages.length, size });
        },
        onFetchMessage(message, session, callback) {
            const chunks = [];
            for (let at = 0; at < message.raw.length; at += CHUNK) {
                chunks.push(message.raw.subarray(at, at + CHUNK));
            }
            callback(null, Readable.from(chunks, { objectMode: false }));
        },
        onUpdate(update, session, callback) {
            const inbox = account(session.user.id).folders.get('INBOX');
            const deleted = update.deleted.map(message => message.uid);
            inbox.messages = inbox.messages.filter(message => !deleted.includes(message.uid));
            setImmediate(callback);
        }
    });
    server.loggelf = () => false;
    server.on('error', error => console.error('POP3 error', error));
    return server;
}

const shared = {
    cert,
    key,
    logger,
    ignoreSTARTTLS: true,
    SNICallback: (name, callback) => callback(null, context)
};
const listen = (server, port) => new Promise(resolve => server.listen(Number(port), '127.0.0.1', resolve));
Promise.all([
    listen(imapServer(shared), imap),
    listen(imapServer({ ...shared, secure: true }), imaps),
    listen(pop3Server(shared), pop3),
    listen(pop3Server({ ...shared, secure: true }), pop3s)
]).then(() => console.log('ready'));
