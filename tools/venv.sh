#!/bin/sh
# Makes .venv and installs Mailroom into it, with the extras named. Usage: tools/venv.sh PYTHON EXTRAS
set -eu
python=$1
extras=$2
if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed and none was found: install it (Debian: apt-get install python3 python3-venv)." >&2
    exit 1
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$python is older than Python 3.11: install a newer one, or name it: make PYTHON=/path/to/python3.13 ..." >&2
    exit 1
}
if [ ! -x .venv/bin/python ]; then
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv .venv || {
        rm -rf .venv
        echo "The virtual environment could not be made (Debian: apt-get install python3-venv)." >&2
        exit 1
    }
fi
echo "Installing packages into .venv ($extras)"
log=.venv/install.log
{
    .venv/bin/python -m pip install --disable-pip-version-check -q -e ".[$extras]" &&
        # The worker engine's package declares Python 3.13; it runs on 3.11 as well, and the tests show it.
        .venv/bin/python -m pip install --disable-pip-version-check -q --no-deps --ignore-requires-python \
            "azure-functions-runtime>=1.3,<2" "azurefunctions-extensions-base>=1.2,<2"
} >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "Packages could not be installed; see above, and $log for the whole." >&2
    exit 1
}
