#!/bin/sh
# Installs the servers that the tests run against where they are missing: Azurite through npm, Dovecot through apt.
set -eu
azurite_version=3.35.0

if ! [ -x .tools/node_modules/.bin/azurite ]; then
    command -v npm >/dev/null 2>&1 || {
        echo "Azurite is needed for the tests, and npm to install it: install Node.js 20 or newer with npm." >&2
        exit 1
    }
    echo "Installing Azurite $azurite_version into .tools"
    mkdir -p .tools
    npm install --prefix .tools --no-audit --no-fund --loglevel=error "azurite@$azurite_version" >.tools/install.log 2>&1 || {
        tail -n 20 .tools/install.log >&2
        echo "Azurite could not be installed; see above." >&2
        exit 1
    }
fi

if ! command -v dovecot >/dev/null 2>&1 || ! [ -e /usr/lib/dovecot/pop3 ] || ! [ -e /usr/lib/dovecot/imap ]; then
    if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
        echo "Dovecot 2.3 with IMAP and POP3 is needed for the tests. Install it" >&2
        echo "(Debian: apt-get install dovecot-imapd dovecot-pop3d), or run make test as root." >&2
        exit 1
    fi
    echo "Installing Dovecot"
    # Without this the package would start a service of its own.
    policy=/usr/sbin/policy-rc.d
    made=
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made=1; }
    mkdir -p .tools
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    status=0
    { apt-get update -q && apt-get install -q -y --no-install-recommends dovecot-imapd dovecot-pop3d; } \
        >.tools/dovecot.log 2>&1 || status=$?
    [ -z "$made" ] || rm -f "$policy"
    [ "$status" = 0 ] || {
        tail -n 20 .tools/dovecot.log >&2
        echo "Dovecot could not be installed; see above." >&2
        exit 1
    }
fi
if [ "$(id -u)" != 0 ]; then
    echo "The tests start Dovecot, which wants root: run make test as root (in a container, for instance)." >&2
    exit 1
fi
