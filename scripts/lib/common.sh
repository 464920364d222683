# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the scripts share: where things are kept, how they speak, how they stop.

export LC_ALL=C.UTF-8
# What was given to the project's make, as in "make TESTS=wait", is not for the makes below.
unset MAKEFLAGS MFLAGS MAKELEVEL
PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
OUTPUT=$PROJECT/build
CACHE=${AFUTEX_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/afutex}
CACHE=$(realpath -m "$CACHE")
JOBS=${JOBS:-$(nproc)}
SUITE=trixie

# die SENTENCE: stops with one sentence that says what is missing or wrong, and
# the command that mends it.
die() {
	echo "${0##*/}: $*" >&2
	exit "${DIE_STATUS:-1}"
}

# say SENTENCE: reports progress. On stderr, so that stdout stays the result.
say() {
	echo ":: $*" >&2
}

# Stops unless the project and the cache are where the kernel's build can work, and
# can be written.
places_check() {
	local odd='[^[:alnum:]_./+,@~-]'

	[ -n "${AFUTEX_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}" ] ||
		die "HOME is not set, and so there is no place for the cache: name one, as in 'export AFUTEX_CACHE=/var/tmp/afutex-cache'."
	[[ ! $PROJECT =~ $odd ]] ||
		die "the kernel's build fails in a folder with a space or the like in its path, and the project is in '$PROJECT': move it, as in 'mv \"$PROJECT\" /var/tmp/afutex'."
	[[ ! $CACHE =~ $odd ]] ||
		die "the kernel's build fails in a folder with a space or the like in its path, and the cache is '$CACHE': name another one, as in 'export AFUTEX_CACHE=/var/tmp/afutex-cache'."
	mkdir -p "$CACHE" 2>/dev/null || :
	[[ -d $CACHE && -w $CACHE ]] ||
		die "the cache '$CACHE' cannot be written: name a folder that can, as in 'export AFUTEX_CACHE=/var/tmp/afutex-cache'."
	mkdir -p "$OUTPUT/log" 2>/dev/null || :
	[[ -w $OUTPUT && -w $OUTPUT/log ]] ||
		die "'$OUTPUT' cannot be written by $(id -un): run this with sudo, or remove what another user has built with 'sudo make clean'."
}

# step NAME SENTENCE COMMAND...: runs a long command with its output in a log
# named after NAME, and says how long it took. Stops where the command fails.
step() {
	local name=$1 what=$2 log start=$SECONDS status

	shift 2
	log=$OUTPUT/log/$name.log
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
			die "the network or the mirror cannot be reached: see to it and run this again; what was downloaded is kept (the log is $log)."
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

# locked PATH COMMAND...: one at a time over all runs that use what is made at PATH.
locked() {
	local path=$1

	shift
	(
		exec 9>"$path.lock"
		if ! flock -n 9; then
			say "waiting for another run that makes the ${path##*/}"
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

# Notes that a folder of the cache is in use. Another checkout may need another one,
# so none is removed because of its name.
cache_used() {
	touch "$1/.used" 2>/dev/null || :
}

# Removes those folders of the cache that were not used for four weeks.
cache_prune() {
	local dir stamp

	for dir; do
		[ -d "$dir" ] || continue
		stamp=$dir/.used
		[ -e "$stamp" ] || stamp=$dir
		if [ -n "$(find "$stamp" -maxdepth 0 -mtime +28)" ]; then
			say "removing $dir, which was not used for four weeks"
			rm -rf --one-file-system "$dir"
		fi
	done
}
