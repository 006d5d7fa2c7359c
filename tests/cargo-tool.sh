#!/bin/sh
# Installs a cargo subcommand that is missing: `cargo-tool.sh fuzz`. Only for the targets that use one (lint, fuzz).
set -eu

for tool in "$@"; do
    cargo "$tool" --version >/dev/null 2>&1 && continue
    echo "setup: installing cargo-$tool, once"
    cargo install --quiet --locked "cargo-$tool"
done
