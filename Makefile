# SPDX-License-Identifier: GPL-2.0
#
# For people; Kbuild is for the kernel. The scripts make whatever is missing: a
# Debian 13 to build in, the kernels, the module, the tests. See "make help".

SHELL := /bin/bash

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## make demo          build, boot the stock Debian kernel, run the demo on it
demo:
	@scripts/demo ring

## make demo-set      a demo of one descriptor for up to 100 000 words
demo-set:
	@scripts/demo demo-set

## make demo-native   a semaphore that C and Python post to, in an event loop, and its cost
demo-native:
	@scripts/demo demo-native

## make check         the runner, the documents' code, the models, every test on the stock
##                    kernel, foreign programs, figures, the debug kernel
check:
	@scripts/check quick

## make check-all     the same, with all foreign programs, and for longer
check-all:
	@scripts/check all

## make check-stock   the tests on the stock kernel;  TESTS="wait wake" for some
check-stock:
	@scripts/check-kernel stock $(TESTS)

## make check-debug   the tests on the debug kernel, and KUnit; TESTS= as above
check-debug:
	@scripts/check-kernel debug $(TESTS)

## make check-rt      the tests that matter there on Debian's kernel with PREEMPT_RT; TESTS=
check-rt:
	@scripts/check-kernel rt $(TESTS)

## make check-models  the models of the protocols, in all their states
check-models:
	@scripts/check-models

## make check-runner  the scripts that judge tests: seconds
check-runner:
	@scripts/check-runner

## make check-docs    the code in the documents
check-docs:
	@scripts/check-docs

## make check-foreign programs of others on the module, and on futex(2) beside it
check-foreign:
	@scripts/check-foreign all

## make bench         what it costs, beside its peers: Documentation/performance.md
bench:
	@scripts/bench

## make check-bench   whether it costs more than what is written there
check-bench:
	@scripts/check-bench

## make preload       build/stock/selftests/preload.so, to try a program on the module
preload:
	@scripts/build preload

## make profile       instructions by kernel function; CASE=watch, see scripts/profile
profile:
	@scripts/profile $(CASE)

## make shell         a shell in a guest with the module loaded; KERNEL=debug
shell:
	@scripts/vm --kernel $(or $(KERNEL),stock) --shell

## make module        build/stock/afutex.ko; KERNEL=debug for the other
module:
	@scripts/build $(or $(KERNEL),stock)

## make install       build for the running kernel (Debian 13 backports), install it and
##                    the headers
install:
	@scripts/install

## make uninstall     remove all that was installed
uninstall:
	@scripts/uninstall

## make style         rustfmt, clippy, checkpatch, shellcheck, layers, documents
style:
	@scripts/style

## make doc           the documents and the crate's own, in build/doc
doc:
	@scripts/doc

## make clean         remove build/; the cache stays (see README)
clean:
	@rm -rf build 2>/dev/null || { echo "build/ has files of another user: run 'sudo make clean'." >&2; false; }

.PHONY: help demo demo-set demo-native check check-all check-stock check-debug check-rt check-models check-runner check-docs check-foreign bench check-bench preload shell module install uninstall style doc clean profile
