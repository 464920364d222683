# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Counting results. A file of results has a line for each: "pass", "fail" or
# "skip", and what it is about.

# Reads TAP from files: leaf results only.
results_of() {
	tr -d '\r' <"$1" | sed -n \
		-e '/^ok .*# SKIP/{s/^ok [0-9]* */skip /p;d}' \
		-e 's/^ok [0-9]* */pass /p' \
		-e 's/^not ok [0-9-]* */fail /p'
	# KTAP nests: cases are indented, suites are not, and do not count again.
	[ ! -f "$2" ] || sed -n \
		-e '/^    ok .*# SKIP/{s/^    ok [0-9]* */skip kunit /p;d}' \
		-e 's/^    ok [0-9]* */pass kunit /p' \
		-e 's/^    not ok [0-9]* */fail kunit /p' "$2"
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
