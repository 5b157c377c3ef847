#!/bin/sh
# Writes the locks from the dependencies in pyproject.toml: requirements.txt for what is deployed, requirements-dev.txt
# for development and tests. Pins that still fit are kept; `tools/lock.sh --upgrade` takes the newest versions.
set -eu
uv_version=0.13.9
uv=.tools/uv/bin/uv
if ! [ -x "$uv" ] || [ "$("$uv" --version | cut -d ' ' -f 2)" != "$uv_version" ]; then
    echo "Installing uv $uv_version into .tools/uv"
    mkdir -p .tools
    rm -rf .tools/uv
    "${PYTHON:-python3}" -m venv .tools/uv
    .tools/uv/bin/python -m pip install --disable-pip-version-check -q --only-binary :all: "uv==$uv_version"
fi
# Addresses of package indexes are a matter of the machine, not of the project.
common="--quiet --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links"
# shellcheck disable=SC2086  # several options
"$uv" pip compile pyproject.toml $common "$@" --custom-compile-command "make lock" \
    --extra local --extra test --universal --python-version 3.11 --output-file requirements-dev.txt
# Azure runs the app on Linux with Python 3.13 (infra/app/site.bicep), in the versions that the tests ran with.
# shellcheck disable=SC2086
"$uv" pip compile pyproject.toml $common "$@" --custom-compile-command "make lock" \
    --constraints requirements-dev.txt --python-version 3.13 --python-platform x86_64-manylinux_2_28 \
    --output-file requirements.txt
