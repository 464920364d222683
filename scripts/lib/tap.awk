# SPDX-License-Identifier: GPL-2.0
#
# Reads TAP, and KTAP with its subtests, and prints a line for each result that is not the
# sum of others: "pass", "fail" or "skip", and its name. What a plan announces and does not
# come is a failure, as is a document without a plan, one that bails out, and one that was
# expected and does not begin or end.
#
# A document begins with its version, or with "# test NAME", and then has to end with
# "# NAME took TIME". Variables: expect, names of documents or of suites; prefix, what
# is put before each name.

function result(verdict, name)
{
	print verdict " " prefix name
}

# Compares what has come at a depth with its plan, on behalf of NAME.
function settle(depth, name)
{
	if (planned[depth] == "" && (seen[depth] > 0 || named != ""))
		result("fail", name " has no plan")
	else if (planned[depth] != "" && planned[depth] != seen[depth])
		result("fail", name " planned " planned[depth] " results, and has " seen[depth] + 0)
	reset(depth)
}

function reset(depth)
{
	for (; depth < 9; depth++) {
		planned[depth] = ""
		seen[depth] = failed[depth] = open[depth] = 0
	}
}

# COMPLETE is whether the line that ends it has come.
function end_document(complete)
{
	if (open[1])
		settle(1, "an unfinished subtest of " (named != "" ? named : "the output"))
	settle(0, named != "" ? named : "the output")
	if (named != "" && !complete)
		result("fail", named " did not end")
	named = ""
	any = 0
}

BEGIN { reset(0) }

{
	sub(/\r$/, "")
	sub(/^\[ *[0-9.]*\]( *\[[^]]*\])? ?/, "")	# the kernel's clock, and a caller
}

named != "" && $1 == "#" && $2 == named && $3 == "took" {
	end_document(1)
	next
}

/^# test [^ ]*$/ {
	if (any)
		end_document(0)
	named = $3
	any = 1
	begun[named] = 1
	next
}

/^K?TAP version / {
	if (any && (planned[0] != "" || seen[0])) {
		if (open[1])
			settle(1, "an unfinished subtest of " (named != "" ? named : "the output"))
		settle(0, named != "" ? named : "the output")
	}
	any = 1
	next
}

/^Bail out!/ {
	result("fail", (named != "" ? named : "the output") ": " $0)
	next
}

/^ *1\.\.[0-9]/ {
	match($0, /^ */)
	depth = int(RLENGTH / 4)
	plan = $1
	sub(/^1\.\./, "", plan)
	planned[depth] = plan + 0
	open[depth] = any = 1
	if (plan + 0 == 0 && /# *SKIP/)
		result("skip", named != "" ? named : $0)
	next
}

/^ *(not )?ok / {
	match($0, /^ */)
	depth = int(RLENGTH / 4)
	line = substr($0, RLENGTH + 1)
	good = sub(/^ok /, "", line)
	sub(/^not ok /, "", line)
	any = open[depth] = 1
	if (line ~ /^[0-9]/) {
		number = line
		sub(/[^0-9].*/, "", number)
		sub(/^[0-9]* *-? */, "", line)
		seen[depth]++
		if (number != seen[depth] && !misnumbered[named, depth]++)
			result("fail", line " has number " number " and is result " seen[depth])
	} else {
		sub(/^- */, "", line)
	}
	name = line
	skipped = sub(/ *# *SKIP.*/, "", name)

	begun[name] = 1
	if (open[depth + 1]) {
		children = failed[depth + 1]
		settle(depth + 1, name)
		if (!good && !children)
			result("fail", name)
	} else if (!good) {
		result("fail", line)
	} else if (skipped) {
		result("skip", line)
	} else {
		result("pass", line)
	}
	if (!good)
		failed[depth]++
	next
}

END {
	if (any)
		end_document(0)
	count = split(expect, wanted, " ")
	for (i = 1; i <= count; i++)
		if (!(wanted[i] in begun))
			result("fail", wanted[i] " did not run")
}
