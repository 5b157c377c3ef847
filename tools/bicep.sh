#!/bin/sh
# Compiles infra/ with $BICEP, or with `bicep` on PATH. Without a compiler: one line and success, but a failure in CI.
set -eu
bicep=${BICEP:-$(command -v bicep || true)}
if [ -z "$bicep" ]; then
    echo "infra/ was not compiled: no Bicep compiler. Install it (az bicep install), or set BICEP to its path." >&2
    [ -z "${CI:-}" ] || exit 1
    exit 0
fi
"$bicep" build --stdout infra/main.bicep >/dev/null || {
    echo "infra/ does not compile; see the errors above ($bicep)." >&2
    exit 1
}
