# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Counting results. A file of results has a line for each: "pass", "fail" or
# "skip", and what it is about.

# results_of FILE [PREFIX [EXPECTED]...]: prints the results of TAP in a file, each name
# with the prefix. What is expected and missing is a failure, as lib/tap.awk says.
results_of() {
	local file=$1 prefix=${2:-}

	shift $(($# < 2 ? $# : 2))
	awk -v prefix="$prefix" -v expect="$*" -f "$PROJECT/scripts/lib/tap.awk" "$file"
}

results_fail() {
	echo "fail $1" >>"$2"
}

# Prints what failed and was skipped, and the line that counts; fails if anything
# failed, or nothing passed.
results_print() {
	local passed failed skipped

	passed=$(cat "$@" | grep -c '^pass ' || :)
	failed=$(cat "$@" | grep -c '^fail ' || :)
	skipped=$(cat "$@" | grep -c '^skip ' || :)
	cat "$@" | sed -n 's/^skip /skipped: /p; s/^fail /FAILED: /p'
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
