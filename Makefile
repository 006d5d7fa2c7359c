# See README.md. `make demo DRIVER=tun` runs the demo over TUN.
DRIVER ?= af_xdp
FUZZ_SECONDS ?= 60
QUICK ?= 0
# In the foreground, so that Ctrl-C comes through. At the limit only the program itself is ended; the reapers of its labs end the rest.
LIMIT = timeout --foreground --kill-after=10

.PHONY: setup demo demo-swarm test bench bench-driver bench-peers bench-swarm bench-checks bench-generator bench-search bench-scaling bench-sharing lint audit fuzz

setup:
	@sh tests/setup.sh

demo: setup
	cargo build --workspace --bins
	cargo run --quiet --package tests --bin demo -- $(DRIVER)

demo-swarm: setup
	cargo build --workspace --bins
	cargo run --quiet --package tests --bin demo_swarm

test: setup
	cargo build --workspace --bins
	cargo build --release --package benches --bin instructions
	cargo test --workspace --no-fail-fast

# About seven minutes after the build; `make bench QUICK=1` takes one. Results: target/bench/results.json, docs/benchmarks/in-memory-DATE.md.
bench: setup
	rm -rf target/criterion $(patsubst %,target/bench/%.json,instructions profile flow_table expiry tables control results)
	QUICK=$(QUICK) cargo bench --package benches --benches
	SLUICEGATE_FIGURES=$(CURDIR)/target/bench/control.json cargo test --release --quiet --package control --bin sluicegate -- \
		--exact gateway::tests_running::publishing_ten_thousand_services_is_timed_when_asked_for
	cargo run --release --quiet --package benches --bin instructions
	cargo run --release --quiet --package benches --bin instructions -- profile
	cargo test --quiet --package benches --test allocations
	QUICK=$(QUICK) cargo run --release --quiet --package benches --bin report

# Sluicegate against a bare forwarder on the same AF_XDP sockets, in turn, then the settings of both; root. At most eleven minutes
# after the build. Results: docs/benchmarks/.
bench-driver: setup
	cargo build --release --package control --package benches --bins
	$(LIMIT) 330 ./target/release/driver
	$(LIMIT) 330 ./target/release/driver sweep

# What health checks of a thousand backends cost; root, about five minutes. Results: target/bench/checks.md.
bench-checks: setup
	cargo build --release --package control --package tests --bins
	$(LIMIT) 600 ./target/release/checks

# Every shipped profile through a gateway in memory; pages with plots in target/generator/.
bench-generator: setup
	cargo build --release --package benches --bins
	@mkdir -p target/generator
	@for profile in benches/profiles/*.toml; do \
		name=$$(basename $$profile .toml); \
		./target/release/generator run --profile $$profile --json target/generator/$$name.json --html target/generator/$$name.html || exit 1; \
	done

# The highest rates without loss of every profile, through a cable, the gateway in memory and over AF_XDP (root): under fifteen minutes
# after the build, `QUICK=1` ninety seconds. Results: target/bench/rates.json and docs/benchmarks/.
bench-search: setup
	cargo build --release --package control --package benches --bins
	QUICK=$(QUICK) $(LIMIT) 875 ./target/release/rates

# One worker and two, in memory.
bench-scaling: setup
	cargo build --release --package benches --bins
	./target/release/scaling

# Which cache lines two workers write to.
bench-sharing: setup
	cargo build --release --package benches --bins
	./target/release/sharing

# About thirteen minutes, never more than fifteen; `QUICK=1` takes three. Results: target/bench/peers.json and docs/benchmarks/.
# `MORE="PacedRequests,FewRequests 10"` adds ten rounds of these measures to the last run.
bench-peers: setup
	@sh tests/setup-peers.sh
	cargo build --release --package control --package tests --bins
	QUICK=$(QUICK) $(LIMIT) $(if $(filter 1,$(QUICK)),230,890) ./target/release/peers $(if $(MORE),more $(MORE))

# About six minutes; `QUICK=1` takes one. Results: target/bench/swarm.json and docs/benchmarks/. Root.
bench-swarm: setup
	cargo build --release --package control --package tests --bins
	QUICK=$(QUICK) $(LIMIT) 890 ./target/release/bench_swarm

lint: setup
	@sh tests/cargo-tool.sh deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	cargo deny check bans licenses sources

# Known vulnerabilities of dependencies: needs the advisory database from github.com, so it is not part of lint.
audit:
	@sh tests/cargo-tool.sh deny
	cargo deny check advisories

fuzz: setup
	@sh tests/cargo-tool.sh fuzz
	@sh fuzz/run.sh $(FUZZ_SECONDS)
