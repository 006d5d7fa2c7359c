# See README.md. `make demo DRIVER=tun` runs the demo over TUN.
DRIVER ?= af_xdp
FUZZ_SECONDS ?= 60

.PHONY: setup demo test bench lint fuzz

setup:
	@sh tests/setup.sh

demo: setup
	cargo build --workspace --bins
	cargo run --quiet --package tests --bin demo -- $(DRIVER)

test: setup
	cargo build --workspace --bins
	cargo test --workspace --no-fail-fast

bench: setup
	cargo bench --package benches

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "lint: cargo-deny is not installed, skipped"; fi

fuzz: setup
	@for target in $$(cargo fuzz list); do cargo fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done
