# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Writes Documentation/performance.md and its plots from what was measured.

# Prints what is written by hand in the document, with its markers.
doc_by_hand() {
	local begin='<!-- written by hand: kept by make bench -->' end='<!-- end -->'

	if [ -f "$DOC" ] && grep -qxF "$begin" "$DOC"; then
		sed -n "/^$begin\$/,/^$end\$/p" "$DOC"
	else
		printf '%s\n\n%s\n' "$begin" "$end"
	fi
}

# The table of the rows with goals ($1 is 1), or of those without.
doc_table() {
	bench_table | awk -F '\t' -v goals="$GOALS" -v want="$1" '
		{
			split($0, word, " ")
			name = word[2]
			split(word[3], own, "=")
			other = word[4]
			sub(/^peer=/, "", other)
			split(other, peer, ":")
			split(word[5], part, "=")
			afutex[name] = own[2]
			peers[name] = peer[1]
			count[name] = peer[2]
			ratio[name] = part[2]
			verdict[name] = word[7] == "missed" ? "**missed**" : word[7]
		}
		END {
			while ((getline line < goals) > 0) {
				split(line, field, "\t")
				name = field[1]
				if (line ~ /^#/ || (field[2] != "-") != want || !(name in afutex))
					continue
				printf "| `%s` | %s | %.0f | %s | %.0f | %s |", name, field[3],
					afutex[name], peers[name], count[name], ratio[name]
				if (want)
					printf " %s | %s |", field[2], verdict[name]
				printf "\n"
			}
		}
	'
}

doc_floors() {
	awk '/^floor: / {
		count = $2
		sub(/^floor: [^ ]* /, "")
		if (FILENAME ~ /counts$/)
			with[$0] = count
		else
			printf "| %s | %.0f | %.0f |\n", $0, with[$0], count
	}' "$WORK/counts" "$WORK/no-tomoyo"
}

doc_throughput() {
	sed -n 's/^throughput: \([^ ]*\) afutex=\([0-9]*\) futex(2)=\([0-9]*\) ratio=\(.*\)/\1 \2 \3 \4/p' "$WORK/time" |
		while read -r name afutex futex ratio; do
			case $name in
			distinct-words) name="wake and wait that do not sleep, a word for each CPU" ;;
			one-word) name="wake and wait that do not sleep, one word" ;;
			distinct-words-asleep) name="two threads on each CPU that wake each other, a word for each CPU" ;;
			one-word-asleep) name="two threads on each CPU that wake each other, one word for all" ;;
			esac
			echo "| $name | $afutex | $futex | $ratio |"
		done
}

doc_memory() {
	sed -n 's/^memory: \([0-9]*\) \(.*\)/| \2 | \1 |/p' "$WORK/scale"
}

# Data for gnuplot: a file for each series, named after it.
doc_points() {
	local plot=$1 series=$2

	sed -n "s/^plot: $plot $series \(.*\)/\1/p" "$WORK/scale"
}

doc_plots() {
	local series patterns=(neighbours cache-lines pages pages-of-a-file one-address-of-many-processes)

	for series in afutex io_uring eventfd+epoll; do
		doc_points watched "$series" >"$WORK/watched-$series.dat"
	done
	for series in afutex,a-word-each afutex,on-one-word 'futex(2)'; do
		doc_points bucket "$series" >"$WORK/bucket-$series.dat"
	done
	for series in "${patterns[@]}"; do
		sed -n "s/^spread: $series \(.*\)/\1/p" "$WORK/scale" >"$WORK/spread-$series.dat"
	done
	doc_table 1 | sed 's/`//g' | awk -F ' *[|] *' '{ print $2, $7, $8 }' >"$WORK/goals.dat"
	sed -n 's/^memory: \([0-9]*\) \(.*\)/\1 "\2"/p' "$WORK/scale" >"$WORK/memory.dat"
	sed -n 's/^throughput: \([^ ]*\) afutex=\([0-9]*\) futex(2)=\([0-9]*\) .*/\1 \2 \3/p' "$WORK/time" >"$WORK/throughput.dat"

	(cd "$PROJECT" && in_root gnuplot - <<-END
		set terminal svg size 760,440 font "sans-serif,13" background rgb "white"
		set style line 1 lc rgb "#0060ad" lw 2 pt 7 ps 0.6
		set style line 2 lc rgb "#b05000" lw 2 pt 5 ps 0.6
		set style line 3 lc rgb "#508030" lw 2 pt 9 ps 0.8
		set border 3
		set tics nomirror out
		set grid ls 0 lc rgb "#d0d0d0"
		set key top left reverse Left
		data = "${WORK#"$PROJECT/"}/"
		plots = "${PLOTS#"$PROJECT/"}/"

		set output plots."watched.svg"
		set title "Wake one of N watched words, learn of it, and watch it again"
		set xlabel "words watched, N"
		set ylabel "instructions"
		set logscale xy
		set format "10^{%L}"
		set yrange [1000:*]
		plot data."watched-afutex.dat" with linespoints ls 1 title "afutex: wake, read of the set", \
		     data."watched-io_uring.dat" with linespoints ls 2 title "io\\\\_uring: wake, reap, wait", \
		     data."watched-eventfd+epoll.dat" with linespoints ls 3 title "eventfd: write, epoll\\\\_wait, read"

		set output plots."bucket.svg"
		set title "Wake on a word that nobody waits for, N others wait in its bucket"
		set xlabel "waiters in the bucket, N"
		set logscale x 4
		set format x "%g"
		set yrange [100:*]
		plot data."bucket-afutex,a-word-each.dat" with linespoints ls 1 title "afutex, each on a word of its own", \
		     data."bucket-afutex,on-one-word.dat" with linespoints ls 3 title "afutex, all on one word", \
		     data."bucket-futex(2).dat" with linespoints ls 2 title "futex(2), each on a word of its own"

		unset logscale
		set format "%g"
		set output plots."spread.svg"
		set title "Words in the bucket that a wake finds, 16 in the mean"
		set xlabel "words in the bucket"
		set ylabel "share of the wakes"
		set xrange [0:40]
		set yrange [0:*]
		set samples 41
		set key top right noreverse Right noenhanced
		poisson(n) = exp(-16 + n * log(16) - lgamma(n + 1))
		plot for [name in "${patterns[*]}"] data."spread-".name.".dat" using 1:(\$2/2000.0) with linespoints lw 2 pt 7 ps 0.5 title name, \
		     poisson(int(x)) with linespoints lc rgb "#808080" dt 2 pt 0 title "by chance (Poisson)"

		set output plots."goals.svg"
		set title "Instructions of afutex for each of the peer's"
		set xlabel ""
		set ylabel ""
		set xrange [0:*]
		set yrange [$(wc -l <"$WORK/goals.dat") - 0.4:-0.6]
		set grid noy
		set key outside bottom right horizontal
		set ytics noenhanced
		plot data."goals.dat" using 2:0:(0):2:(\$0-0.3):(\$0+0.3):ytic(1) with boxxyerror fs solid 0.6 lc rgb "#0060ad" title "measured", \
		     "" using 3:(\$0-0.42):(0):(0.84) with vectors nohead lw 3 lc rgb "#b05000" title "goal: at most"

		set output plots."memory.svg"
		set title "Kernel memory, 100 000 words waited for"
		set xlabel "bytes for each"
		set yrange [4.6:-0.6]
		unset key
		plot data."memory.dat" using 1:0:(0):1:(\$0-0.3):(\$0+0.3):ytic(2) with boxxyerror fs solid 0.6 lc rgb "#0060ad", \
		     "" using 1:0:(sprintf(" %d", \$1)) with labels left notitle

		set output plots."throughput.svg"
		set title "Pairs of a wake and a wait on 2 emulated CPUs"
		set xlabel ""
		set ylabel "thousands of pairs each second"
		set key inside top right vertical noreverse Right
		set bmargin 4
		set xrange [*:*]
		set yrange [0:*]
		set grid y nox
		set style data histogram
		set style histogram clustered gap 1
		set style fill solid 0.6
		set xtics ("no sleep,\\na word each" 0, "no sleep,\\none word" 1, "sleeping,\\na word each" 2, "sleeping,\\none word" 3)
		plot data."throughput.dat" using (\$2/1000) lc rgb "#0060ad" title "afutex", \
		     "" using (\$3/1000) lc rgb "#b05000" title "futex(2)"
	END
	)
}

doc_write() {
	local by_hand

	by_hand=$(doc_by_hand)
	step bench-plots "drawing the plots" doc_plots
	cat >"$DOC.part" <<-END
		# Performance

		What afutex costs, beside what else there is for the same work. \`make bench\` measures
		all of it and writes this document; what is written by hand has markers around it.
		Measured on Debian's Linux $RELEASE, unmodified, in QEMU $(in_root qemu-system-x86_64 --version | sed -n 's/.*version \([0-9.]*\).*/\1/p').

		## How

		**Instructions, not time.** QEMU runs the guest with \`-accel tcg -icount shift=0,sleep=off\`
		and one CPU: each instruction, of user space and of the kernel, takes one nanosecond of the
		guest's clock, so differences of \`clock_gettime\` are counts of instructions. They do not
		depend on what else the machine does and repeat to about 1 in 1000. What they do not show
		is the cost of caches that miss, of contended cache lines and of mispredicted branches.

		**Settling.** Before anything is measured the guest sleeps for 20 seconds, in which the
		kernel threads of the boot end. An idle guest's time is skipped.

		**Calibration.** A loop of two instructions that runs 10^7 times is counted first. It read
		$(sed -n 's/^bench: calibration //p' "$WORK/counts") here, of 20000000; a run in which it is off by more than 1 % is refused.

		**Rounds.** A figure is the median of 7 rounds, each of some hundreds to some ten thousand
		operations, after one that does not count. Each side of a row runs in a process of its own.
		Both make their system calls by the same few instructions, without the C library; the
		result of every call is checked. Nothing is subtracted: loops and checks are in the
		figures, with a few instructions for each call.

		**Peers.** afutex and its peer are measured in the same boot, of the stock kernel with
		Debian's default security modules. Rows with \`no-tomoyo\` are of a second boot, with Debian's
		list of them (\`lsm=\`) without TOMOYO, whose hook for ioctls is the most expensive one.
		io_uring is used through liburing with a registered ring.

		## The goals

		Instructions for each operation, and the ratio of them. Where one word suffices, afutex's
		wakes are those whose argument is the address (\`AFUTEX_IOC_WAKE_ONE\` and its like).

		| | operation | afutex | peer | | ratio | goal | |
		|---|---|---|---|---|---|---|---|
		$(doc_table 1)

		![Ratios and goals](performance/goals.svg)

		Beside them, the same work in other ways:

		| | how | afutex | peer | | ratio |
		|---|---|---|---|---|---|
		$(doc_table 0)

		Some system calls that do next to nothing, below which no row can be:

		| call | instructions | without TOMOYO |
		|---|---|---|
		$(doc_floors)

		$by_hand

		## Very many words

		A set watches N words, of which a random one is woken; its event is read, and the member
		stays armed. io_uring has N requests that wait; the one that completes is submitted again.
		epoll has N eventfds, 100 000 at most, of which one is written, reported and read. futex(2)
		keeps the waiters of a process with one thread in a table that it shares with all others.

		![Cost against words watched](performance/watched.svg)

		A bucket of the table with N waiters, each on a word of its own, and a wake on yet another
		word of that bucket. The module was loaded with \`buckets=1\` for this, and futex(2) was told
		to use two buckets for the process, with 2 N waiters. A bucket of afutex has a list of words,
		so that waiters on one word count as one.

		![Cost against waiters in a bucket](performance/bucket.svg)

		How words spread over the buckets: so many words as 16 times the buckets are watched, in
		patterns that programs have, and the number of words in a bucket is told by what a wake on
		a random word takes. Words are neighbours, on cache lines or on pages of their own, on pages
		of a file, and at one address in each of 512 processes. What a wake takes for each word in
		the bucket is measured with \`buckets=1\`. The module was loaded 4 times for each pattern,
		with 4 seeds of its hash.

		![Words in a bucket](performance/spread.svg)

		## Memory

		The kernel's memory for each of 100 000 private words that are waited for: what is not
		free any more once they are, by \`/proc/meminfo\`.

		| | bytes |
		|---|---|
		$(doc_memory)

		![Memory](performance/memory.svg)

		## Two CPUs

		Pairs of a wake and a wait, each second, on two emulated CPUs, in time and not in
		instructions. afutex and futex(2) take turns of 0.1 seconds; the figures and the ratio
		are medians over 15 of them, the ratio that of each turn with the next. Here more is better.

		| | afutex | futex(2) | ratio |
		|---|---|---|---|
		$(doc_throughput)

		![Throughput](performance/throughput.svg)
	END
	mv "$DOC.part" "$DOC"
}
