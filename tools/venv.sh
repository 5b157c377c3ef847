#!/bin/sh
# Create .venv and install Mailroom with these extras into it. Usage: tools/venv.sh PYTHON EXTRAS
set -eu
python=$1
extras=$2
if [ -z "$python" ]; then
    echo "Python 3.11 or newer was not found: install it (Debian: apt-get install python3 python3-venv)." >&2
    exit 1
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$python is older than Python 3.11: install a newer one, or select one: make PYTHON=/path/to/python3.13 ..." >&2
    exit 1
}
if [ ! -x .venv/bin/python ]; then
    echo "Creating .venv with $("$python" --version)"
    "$python" -m venv .venv || {
        rm -rf .venv
        echo "The virtual environment could not be created: install venv (Debian: apt-get install python3-venv)." >&2
        exit 1
    }
fi
echo "Installing packages into .venv ($extras)"
log=.venv/install.log
{
    .venv/bin/python -m pip install --disable-pip-version-check -q -e ".[$extras]" &&
        # The worker engine's package requires Python 3.13, but it also runs on 3.11, as the tests show.
        .venv/bin/python -m pip install --disable-pip-version-check -q --no-deps --ignore-requires-python \
            "azure-functions-runtime>=1.3,<2" "azurefunctions-extensions-base>=1.2,<2"
} >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "Packages could not be installed: see the errors above, and $log for the full log." >&2
    exit 1
}
