#!/bin/sh
# Runs every fuzz target for some seconds, with stable Rust: `run.sh SECONDS`.
# Begins with what is in the tree; what it finds stays in fuzz/target/found/, a crash in fuzz/artifacts/.
# After a crash: fix, and put the input into fuzz/regressions/TARGET/, where `make test` replays it.
set -eu
cd "$(dirname "$0")"

for target in $(cargo fuzz list); do
    mkdir -p "target/found/$target"
    cargo fuzz run --sanitizer none "$target" "target/found/$target" "corpus/$target" "regressions/$target" -- \
        -max_total_time="$1" -max_len=4096 -timeout=20 -verbosity=0 -print_final_stats=1
done
