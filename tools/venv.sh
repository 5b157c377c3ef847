#!/bin/sh
# Create .venv and install Mailroom into it, with the exact versions of requirements-dev.txt. Usage: tools/venv.sh PYTHON
set -eu
python=$1
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
echo "Installing packages into .venv"
log=.venv/install.log
pip=".venv/bin/python -m pip --disable-pip-version-check"
{
    $pip install -q --require-hashes -r requirements-dev.txt &&
        # setuptools comes from the lock as well: pip downloads nothing to build the package itself.
        $pip install -q --no-deps --no-build-isolation -e . &&
        # The worker engine's package requires Python 3.13, but it also runs on 3.11, as the tests show.
        if .venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then
            $pip install -q --no-deps --ignore-requires-python \
                "azure-functions-runtime==1.3.0" "azurefunctions-extensions-base==1.2.0"
        fi
} >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "Packages could not be installed; see above, and $log for the whole." >&2
    exit 1
}
