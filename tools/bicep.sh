#!/bin/sh
# Compile infra/ with $BICEP, or with `bicep` on PATH. Without a compiler, print one line and succeed; in CI, fail.
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
