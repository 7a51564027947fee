# Two commands do all the set-up: `make run` and `make test`. The rest are their parts.
SHELL := /bin/bash
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
DATA ?= $(CURDIR)/farol-data
KITS ?= $(CURDIR)/../shared
PYTHON_ENV ?= $(CARGO_TARGET_DIR)/python

.PHONY: run build test test-packages lint test-rust test-binary test-clients test-kits bench fuzz deny clean

run: build
	$(CARGO_TARGET_DIR)/release/farol serve --data $(DATA)

build:
	cargo build --release --locked

test: test-packages lint test-rust test-clients test-kits

# What the tests need beside Rust: Debian packages and Python packages, by name.
test-packages:
	scripts/test-packages.sh $(PYTHON_ENV)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Unit, property and black-box tests, and the crash model.
test-rust:
	cargo test --workspace --locked

# The binary that the black-box tests run, as they built it: another build would compile all dependencies once more, for
# other features.
test-binary:
	cargo test --workspace --locked --no-run

# Real clients (the OpenTelemetry SDK, rsyslog, DuckDB) against the real binary.
test-clients: test-binary
	FAROL_BINARY=$(CARGO_TARGET_DIR)/debug/farol $(PYTHON_ENV)/bin/python -m pytest -q tests/clients

# The conformance kit, where it lies beside the checkout.
test-kits: test-binary
	scripts/kits.sh $(KITS) $(PYTHON_ENV) $(CARGO_TARGET_DIR)/debug/farol

bench:
	cargo bench --workspace --locked

# Every fuzz target for SECONDS_EACH (needs a nightly toolchain and cargo-fuzz).
SECONDS_EACH ?= 600
fuzz:
	for target in $$(cargo +nightly fuzz list); do \
		mkdir -p fuzz/corpus/$$target fuzz/seeds/$$target && \
		cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(SECONDS_EACH) || exit 1; done

# Licences and duplicate versions (needs cargo-deny).
deny:
	cargo deny check licenses bans sources

clean:
	cargo clean
