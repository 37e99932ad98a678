# `make` says what there is. Every target installs what it needs on a Debian machine that has only Rust.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build test lint fuzz bench bench-tail bench-cache conformance soak idle profile setup bench-setup

CARGO ?= cargo
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get
# Debian keeps servers in sbin, which is not on every user's PATH.
export PATH := $(PATH):/usr/sbin

# $(call install,COMMAND:PACKAGE …): installs the packages whose command is missing.
install = missing=; for pair in $(1); do command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair\#*:}"; done; \
	if [ -n "$$missing" ]; then $(APT) update -qq; $(APT) install -y -qq --no-install-recommends $$missing; fi

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: build ## build, then run three test backends and the proxy before them
	exec target/release/weir demo

build: setup ## target/release/weir
	$(CARGO) build --release --locked --bin weir

test: build ## build the release binary, then run every test
	$(CARGO) test --locked --doc
	if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run --locked --no-fail-fast; \
	else $(CARGO) test --locked --no-fail-fast --lib --bins --tests; fi

lint: setup ## formatting, clippy with every warning an error, cargo-deny where it is installed
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and bans are not checked"; fi

# The tests run the same targets over seeds and mutations for a second; this searches with coverage, as many targets at once
# as there are processors. Its build is one of its own, with weir's versions of everything.
FUZZ_SECONDS ?= 60
FUZZ_TOOLS = $(CURDIR)/target/tools
FUZZ = $(CARGO) fuzz run --sanitizer none {} -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1

fuzz: export PATH := $(FUZZ_TOOLS)/bin:$(PATH)
fuzz: export RUSTC_BOOTSTRAP := 1
fuzz: setup ## what reads the fields of strangers, under cargo-fuzz, FUZZ_SECONDS=60 for each
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked --root $(FUZZ_TOOLS) cargo-fuzz \
		|| { echo "cargo-fuzz cannot be installed: nothing is fuzzed"; exit 0; }; \
	cp Cargo.lock fuzz/Cargo.lock; \
	$(CARGO) fuzz build --sanitizer none; \
	cargo-fuzz list | xargs -P "$$(nproc)" -I{} sh -c \
		'$(FUZZ) >fuzz/target/{}.log 2>&1; code=$$?; echo "== {}"; tail -n $$((code ? 99 : 6)) fuzz/target/{}.log; exit $$code'

bench: bench-setup build ## weir, nginx, HAProxy and bare Pingora side by side (about five minutes)
	$(CARGO) build --release --locked --example bare_balancer
	bench/run

bench-tail: bench-setup build ## weir, nginx and HAProxy while an endpoint is slow, frozen, broken or killed (about 25 minutes, or DURATION=…)
	$(CARGO) build --release --locked --example tail_drill
	bench/tail

bench-cache: bench-setup build ## weir, nginx and Varnish serving from their caches (about ten minutes)
	bench/cache

conformance: bench-setup build ## how weir, nginx and Varnish do in the tests behind cache-tests.fyi, fetched from npm (about two minutes)
	$(call install,node:nodejs npm:npm)
	bench/conformance

soak: bench-setup build ## the cache full and changing for an hour, or SECONDS=…: does it keep to its memory?
	bench/soak

idle: bench-setup build ## what 10,000 idle connections cost in memory
	bench/idle

profile: bench-setup build ## where the CPU time of a forwarded request goes
	$(call install,perf:linux-perf strace:strace)
	bench/profile

setup:
	@$(call install,cc:build-essential cmake:cmake)
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; exit 1; }

# Debian starts a server when it is installed; the benchmarks start their own, so a new one is stopped again.
bench-setup:
	@fresh=; for each in nginx haproxy varnishd; do command -v $$each >/dev/null || fresh="$$fresh $$each"; done; \
	$(call install,python3:python3 nginx:nginx-light haproxy:haproxy varnishd:varnish wrk:wrk); \
	if [ -n "$$fresh" ] && [ -d /run/systemd/system ]; then $(SUDO) systemctl disable --now $${fresh/varnishd/varnish}; fi
