# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts share: where things are kept, how they speak, how they stop.
# To be sourced by bash, with "set -eu" already in force.

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${AFUTEX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/afutex}
JOBS=${JOBS:-$(nproc)}
SUITE=trixie

export LC_ALL=C.UTF-8
mkdir -p "$CACHE/log"

# die SENTENCE: stops with one sentence that says what is missing or wrong, and
# the command that mends it.
die() {
	echo "${0##*/}: $*" >&2
	exit "${DIE_STATUS:-1}"
}

# say SENTENCE: tells what happens. On stderr, so that stdout stays the result.
say() {
	echo ":: $*" >&2
}

# step NAME SENTENCE COMMAND...: runs a long command with its output in a log
# named after NAME, and says how long it took. Stops where the command fails.
step() {
	local name=$1 what=$2 log start=$SECONDS status

	shift 2
	log=$CACHE/log/$name.log
	printf ':: %s ... ' "$what" >&2
	# In a condition "set -e" would not reach into a function.
	set +e
	(set -e && "$@") >"$log" 2>&1
	status=$?
	set -e
	if [ "$status" -ne 0 ]; then
		printf 'failed\n' >&2
		tail -n 15 "$log" | sed 's/^/     /' >&2
		if grep -q 'No space left on device' "$log"; then
			die "the disk is full: free some space and run this again."
		fi
		if grep -Eq 'Failed getting release file|Could not resolve|Temporary failure|Failed to fetch|Unable to connect|failed to download' "$log"; then
			die "the network cannot be reached, or the mirror: see to it and run this again; what was downloaded is kept (the log is $log)."
		fi
		die "that failed with status $status; the whole log is $log."
	fi
	printf '%d s\n' $((SECONDS - start)) >&2
}

# need_space GIB SENTENCE: stops unless the cache has that much room.
need_space() {
	local free

	free=$(df --output=avail -k "$CACHE" | tail -n 1)
	[ "$free" -ge $(($1 << 20)) ] ||
		die "$2 needs $1 GiB in $CACHE and $((free >> 20)) GiB are free: make room, or set AFUTEX_CACHE to a folder on another disk."
}

# locked NAME COMMAND...: one at a time over all runs on this machine.
locked() {
	local name=$1

	shift
	(
		exec 9>"$CACHE/$name.lock"
		if ! flock -n 9; then
			say "waiting for another run that is making the $name"
			flock 9
		fi
		"$@" 9>&-
	)
}

# key_of FILE-OR-WORD...: a short name for what something was made from.
key_of() {
	local part

	for part; do
		if [ -f "$part" ]; then cat "$part"; else echo "$part"; fi
	done | sha256sum | cut -c1-12
}
