#!/bin/sh
# Install the servers that the tests need, if they are missing: Azurite, hoodiecrow and WildDuck with npm, Dovecot with
# apt. Courier, Postfix, Mailutils and Cyrus are unpacked from Debian's packages.
set -eu
azurite_version=3.35.0

if ! [ -x .tools/node_modules/.bin/azurite ]; then
    command -v npm >/dev/null 2>&1 || {
        echo "The tests need Azurite, which is installed with npm: install Node.js 20 or newer with npm." >&2
        exit 1
    }
    echo "Installing Azurite $azurite_version into .tools"
    mkdir -p .tools
    npm install --prefix .tools --no-audit --no-fund --loglevel=error "azurite@$azurite_version" >.tools/install.log 2>&1 || {
        tail -n 20 .tools/install.log >&2
        echo "Azurite could not be installed: see the errors above." >&2
        exit 1
    }
fi

# The tests compare the parser with an HTML parser and with two other mail parsers.
readers="parse5@8.1.1 mailparser@3.14.2 postal-mime@4.0.0"
if ! [ -e .tools/readers/installed ] || [ "$(cat .tools/readers/installed)" != "$readers" ]; then
    echo "Installing $readers into .tools/readers"
    rm -rf .tools/readers
    mkdir -p .tools/readers
    # shellcheck disable=SC2086  # several packages
    npm install --prefix .tools/readers --no-audit --no-fund --loglevel=error --ignore-scripts $readers \
        >.tools/readers.log 2>&1 || {
        tail -n 20 .tools/readers.log >&2
        echo "$readers could not be installed: see the errors above." >&2
        exit 1
    }
    echo "$readers" >.tools/readers/installed
fi

# The tests check the queries of infra/ with Kusto's own language service.
kusto="@kusto/language-service-next@12.4.1"
if ! [ -e .tools/kusto/installed ] || [ "$(cat .tools/kusto/installed)" != "$kusto" ]; then
    echo "Installing $kusto into .tools/kusto"
    rm -rf .tools/kusto
    mkdir -p .tools/kusto
    npm install --prefix .tools/kusto --no-audit --no-fund --loglevel=error --ignore-scripts "$kusto" \
        >.tools/kusto.log 2>&1 || {
        tail -n 20 .tools/kusto.log >&2
        echo "$kusto could not be installed: see the errors above." >&2
        exit 1
    }
    echo "$kusto" >.tools/kusto/installed
fi

if ! command -v dovecot >/dev/null 2>&1 || ! [ -e /usr/lib/dovecot/pop3 ] || ! [ -e /usr/lib/dovecot/imap ]; then
    if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
        echo "The tests need Dovecot 2.3 with IMAP and POP3. Install it" >&2
        echo "(Debian: apt-get install dovecot-imapd dovecot-pop3d), or run make test as root." >&2
        exit 1
    fi
    echo "Installing Dovecot"
    # Without this policy, the package would start a service.
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
        echo "Dovecot could not be installed: see the errors above." >&2
        exit 1
    }
fi
if [ "$(id -u)" != 0 ]; then
    echo "The tests start Dovecot, which needs root: run make test as root (for example in a container)." >&2
    exit 1
fi

# The packages of the other servers conflict with Dovecot and with each other. Therefore they are not installed: each
# server is unpacked with its libraries into a separate root, .tools/roots/NAME, in which the tests start it.
unpack() { # NAME PACKAGE...
    name=$1
    shift
    [ -e ".tools/roots/$name.packages" ] && [ "$(cat ".tools/roots/$name.packages")" = "$*" ] && return
    if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg >/dev/null 2>&1; then
        echo "The tests need $name, which is unpacked from Debian's packages: run make test on Debian 12." >&2
        exit 1
    fi
    echo "Unpacking $name into .tools/roots"
    rm -rf ".tools/roots/$name" ".tools/roots/$name.packages" ".tools/debs/$name"
    mkdir -p ".tools/roots/$name" ".tools/debs/$name"
    status=0
    {
        [ -e .tools/debs/updated ] || { apt-get update -q && touch .tools/debs/updated; }
        with_libraries "$@" >".tools/debs/$name/packages" &&
            # As root, since the sandbox user _apt cannot write below a home folder.
            (cd ".tools/debs/$name" && xargs apt-get download -q -o APT::Sandbox::User=root <packages) &&
            for deb in ".tools/debs/$name"/*.deb; do dpkg -x "$deb" ".tools/roots/$name" || exit 1; done
    } >".tools/$name.log" 2>&1 || status=$?
    rm -rf ".tools/debs/$name"
    [ "$status" = 0 ] || {
        rm -rf ".tools/roots/$name"
        tail -n 20 ".tools/$name.log" >&2
        echo "$name could not be unpacked: see the errors above." >&2
        exit 1
    }
    # Files that no server reads are deleted, since the tests copy each root.
    for part in share/doc share/man share/locale share/i18n share/guile share/perl share/perl5 share/glib-2.0 \
        include lib/python3 lib/python3.11 lib/x86_64-linux-gnu/guile; do
        rm -rf ".tools/roots/$name/usr/$part"
    done
    echo "$*" >".tools/roots/$name.packages"
}

# Print the packages and the libraries that they need, directly or indirectly. Of alternatives, the first is used. Calls
# name further programs that the tests need. ClamAV's library is only for a scanner.
with_libraries() { # PACKAGE...
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        "$@" | awk -v packages="$*" '
            /^[^ |]/ { package = $1; next }
            $1 ~ /^[|]?(Pre)?Depends:$/ {
                if (!alternative[package]) needs[package] = needs[package] " " $2
                alternative[package] = ($1 ~ /^[|]/)
            }
            END {
                count = split(packages, queue, " ")
                for (i = 1; i <= count; i++) seen[queue[i]] = 1
                for (i = 1; i <= count; i++) {
                    print queue[i]
                    total = split(needs[queue[i]], names, " ")
                    for (j = 1; j <= total; j++) {
                        if (names[j] in seen || names[j] !~ /^(lib|zlib1g|guile-)/ || names[j] ~ /^libclamav/) continue
                        seen[names[j]] = 1
                        queue[++count] = names[j]
                    }
                }
            }'
}

mkdir -p .tools/debs
rm -f .tools/debs/updated
unpack courier courier-imap courier-pop courier-base courier-authdaemon courier-authlib courier-authlib-userdb gamin
unpack postfix postfix
unpack mailutils mailutils-imap4d mailutils-pop3d
unpack cyrus cyrus-imapd cyrus-common libsasl2-modules sasl2-bin

# hoodiecrow, and WildDuck's IMAP and POP3 servers with the packages that these load. All of WildDuck would need a database
# and 500 packages.
hoodiecrow_version=2.1.0
wildduck_version=1.46.1
peers="hoodiecrow-imap@$hoodiecrow_version wildduck@$wildduck_version"
if ! [ -e .tools/peers/installed ] || [ "$(cat .tools/peers/installed)" != "$peers" ]; then
    command -v npm >/dev/null 2>&1 || {
        echo "The tests need hoodiecrow and WildDuck, which are installed with npm: install Node.js 20 or newer." >&2
        exit 1
    }
    echo "Installing hoodiecrow $hoodiecrow_version and WildDuck $wildduck_version into .tools/peers"
    rm -rf .tools/peers
    mkdir -p .tools/peers/wildduck .tools/peers/hoodiecrow
    {
        npm pack --loglevel=error --pack-destination .tools/peers "wildduck@$wildduck_version" &&
            tar -xzf ".tools/peers/wildduck-$wildduck_version.tgz" -C .tools/peers/wildduck --strip-components 1 &&
            rm ".tools/peers/wildduck-$wildduck_version.tgz" &&
            node tests/servers/wildduck_packages.js .tools/peers/wildduck/package.json &&
            npm install --prefix .tools/peers/wildduck --no-audit --no-fund --loglevel=error --ignore-scripts &&
            npm install --prefix .tools/peers/hoodiecrow --no-audit --no-fund --loglevel=error --ignore-scripts \
                "hoodiecrow-imap@$hoodiecrow_version"
    } >.tools/peers.log 2>&1 || {
        tail -n 20 .tools/peers.log >&2
        echo "hoodiecrow and WildDuck could not be installed: see the errors above." >&2
        exit 1
    }
    echo "$peers" >.tools/peers/installed
fi
