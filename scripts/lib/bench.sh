# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Measuring in guests, for bench and check-bench.

# Makes what is measured with, and sets where things are.
bench_prepare() {
	DOC=$PROJECT/Documentation/performance.md
	PLOTS=$PROJECT/Documentation/performance
	GOALS=$PROJECT/selftests/bench/goals
	WORK=$OUTPUT/bench

	root_ensure test
	kernel_select stock
	kernel_source
	tests_build "building the measurements" bench
	mkdir -p "$WORK" "$PLOTS"
}

# bench_boot NAME [OPTION]... -- [ARG]...: runs the measurements in a guest, with the options
# of scripts/vm. What it prints is in $WORK/NAME.
bench_boot() {
	local name=$1 options=()

	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	"$PROJECT/scripts/vm" --log "$WORK/$name.log" "${options[@]}" -- \
		"$OUT/selftests/bench" "${@:2}" >"$WORK/$name" 2>"$WORK/$name.err" || {
		cat "$WORK/$name" "$WORK/$name.err" >&2
		die "the measurements of $name failed: above is what they said."
	}
}

# Waits for boots that run at once; whatever else the machine does, they count the same.
bench_wait() {
	local pid failed=

	for pid; do
		wait "$pid" || failed=1
	done
	[ -z "$failed" ] || exit 1
}

# Debian's list of security modules, without the one whose hook costs the most.
without_tomoyo() {
	local list

	list=$(sed -n 's/^CONFIG_LSM="\(.*\)"/\1/p' "$KBUILD/.config")
	list=${list/tomoyo,/}
	echo "lsm=${list/,tomoyo/}"
}

# The rows of both boots, in which a name says where it was measured.
bench_rows() {
	cat "$WORK/counts"
	sed -n 's/^bench: \([a-z0-9-]*\)/bench: \1-no-tomoyo/p' "$WORK/no-tomoyo"
}

# Prints each goal's row and whether it is met, then the others'.
bench_table() {
	bench_rows | awk -F '\t' -v goals="$GOALS" '
		BEGIN {
			while ((getline line < goals) > 0) {
				split(line, field, "\t")
				if (line !~ /^#/ && field[2] != "-")
					goal[field[1]] = field[2]
			}
		}
		/^bench: [^ ]* afutex=/ {
			split($0, word, " ")
			ratio = $0
			sub(/.*ratio=/, "", ratio)
			if (word[2] in goal)
				$0 = $0 " goal=" goal[word[2]] (ratio + 0 <= goal[word[2]] + 0 ? " met" : " missed")
			print
		}
		/^bench: [^ ]* failed/
	'
}
