// SPDX-License-Identifier: GPL-2.0
/*
 * Random sequences of all calls, beside a model of what is documented (lib/model.h).
 * Each result, what poll(2) says of each descriptor, and what is read are compared.
 *
 * The calls are made one after the other, by two processes: the second shares the
 * descriptors of the first, but not its memory. So nothing here depends on timing, and a
 * walk with the same seed makes the same calls.
 *
 * A walk that goes wrong prints its seed and its last steps. WALK_SEED=<seed> in the
 * environment begins there; without it, a walk that is known.
 */
#include <sys/prctl.h>
#include <sys/random.h>

#include "memory.h"
#include "model.h"

#define PAGE		4096
#define PROCESSES	2
#define SLOTS		4	/* pages that words are in, at the same addresses in both */
#define FILE_PAGES	2
#define SIZE		16	/* bytes in use in each page */
#define FILES		8	/* descriptors of one word */
#define SETS		2
#define MEMBERS		6	/* of each set */
#define STEPS		2000	/* of one walk */
#define NO_ID		UINT32_MAX
#define KEPT		40	/* steps that are printed on a mismatch */

/* Where the descriptors of one word, and the members of each set, are in the model. */
#define FILE_AT(i)	(i)
#define MEMBER_AT(s, i)	(FILES + (s) * MEMBERS + (i))
_Static_assert(MEMBER_AT(SETS, 0) <= MODEL_WAITERS, "the model has room for all");

enum backing { ANON, FILE0, FILE1 };

struct mapping {
	enum backing backing;
	int prot;
};

struct word {
	int slot, offset, size;
	bool private;
};

/* A system call for the other process, and its result. Shared by both. */
struct order {
	_Atomic int pending;
	long nr, args[6], ret;
};

/* A step, formatted only if it is printed. */
struct note {
	const char *format;
	long args[9];
};

struct walk {
	struct model model;
	uint64_t random;
	int dev, memfd;
	pid_t other;
	struct order *order;
	char *arena;		/* arguments: shared by both, with nothing mapped behind it */
	char *slots;
	/* What the model knows of memory. */
	struct mapping map[PROCESSES][SLOTS];
	uint8_t anon[PROCESSES][SLOTS][SIZE], file[FILE_PAGES][SIZE];
	/* The descriptors of one word. */
	int fds[FILES];
	struct word words[FILES];
	int openers[FILES];	/* by which process */
	int sets[SETS];
	uint32_t ids[SETS][MEMBERS];
	struct note notes[KEPT];
	int step;
	bool failed;
};

#define SYS_STORE	(-1L)

static long make_call(long nr, const long *a)
{
	long ret;

	if (nr == SYS_STORE) {
		memcpy((void *)a[0], (void *)a[1], a[2]);
		return 0;
	}
	ret = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	return ret < 0 ? -errno : ret;
}

static void other_main(struct order *order)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		while (!order->pending)
			syscall(SYS_futex, &order->pending, FUTEX_WAIT, 0, NULL, NULL, 0);
		order->ret = make_call(order->nr, order->args);
		order->pending = 0;
		syscall(SYS_futex, &order->pending, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

/* Makes a system call in one of the processes: its result, or -errno. */
static long call_in(struct walk *w, int process, long nr, const long *args)
{
	struct order *order = w->order;

	if (process == 0)
		return make_call(nr, args);
	order->nr = nr;
	memcpy(order->args, args, sizeof(order->args));
	order->pending = 1;
	syscall(SYS_futex, &order->pending, FUTEX_WAKE, 1, NULL, NULL, 0);
	while (order->pending)
		syscall(SYS_futex, &order->pending, FUTEX_WAIT, 1, NULL, NULL, 0);
	return order->ret;
}

#define CALL(process, nr, ...) call_in(w, process, nr, (long[6]) { __VA_ARGS__ })
#define IOCTL(process, fd, cmd, arg) CALL(process, SYS_ioctl, fd, cmd, (long)(arg))

static uint32_t some(struct walk *w, uint32_t below)
{
	/* xorshift64*: https://vigna.di.unimi.it/ftp/papers/xorshift.pdf */
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return (w->random * 2685821657736338717ULL >> 32) % below;
}

static bool one_in(struct walk *w, int n)
{
	return !some(w, n);
}

#define NOTE(format, ...) note(w, (struct note) { format, { __VA_ARGS__ } })

static void note(struct walk *w, struct note n)
{
	w->notes[w->step % KEPT] = n;
}

#define WORD_FORMAT	"word %lx size %ld private %ld"
#define WORD_ARGS(word)	(word).slot << 4 | (word).offset, (word).size, (word).private

static void print_notes(struct walk *w)
{
	int first = w->step >= KEPT ? w->step - KEPT + 1 : 0;

	for (int i = first; i <= w->step; i++) {
		struct note *n = &w->notes[i % KEPT];
		long *a = n->args;

		fprintf(stderr, "# step %d: ", i);
		fprintf(stderr, n->format, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
		fputc('\n', stderr);
	}
}

/* Compares a result with the model's. */
static bool expect(struct walk *w, const char *what, long got, long want)
{
	if (got == want || w->failed)
		return !w->failed;
	w->failed = true;
	print_notes(w);
	fprintf(stderr, "# %s: %ld, and the model says %ld\n", what, got, want);
	return false;
}

/* Memory */

static char *address(struct word word)
{
	return (char *)(uintptr_t)(word.slot * PAGE + word.offset);
}

static long addr_in(struct walk *w, struct word word)
{
	return (long)(w->slots + (uintptr_t)address(word));
}

static uint8_t *bytes(struct walk *w, int process, struct word word)
{
	struct mapping *map = &w->map[process][word.slot];
	uint8_t *page = map->backing == ANON ? w->anon[process][word.slot] :
					       w->file[map->backing - FILE0];

	return page + word.offset;
}

static bool readable(struct walk *w, int process, struct word word)
{
	return w->map[process][word.slot].prot & PROT_READ;
}

static bool writable(struct walk *w, int process, struct word word)
{
	return w->map[process][word.slot].prot & PROT_WRITE;
}

static uint64_t value(struct walk *w, int process, struct word word)
{
	uint64_t v = 0;

	memcpy(&v, bytes(w, process, word), word.size);
	return v;
}

static struct word_key key(struct walk *w, int process, struct word word)
{
	enum backing backing = w->map[process][word.slot].backing;

	if (word.private || backing == ANON)
		return (struct word_key) {
			.kind = word.private ? KEY_PRIVATE : KEY_MM,
			.object = process, .at = word.slot * PAGE + word.offset,
		};
	return (struct word_key) { KEY_FILE, backing, word.offset };
}

static uint32_t size_flags(struct word word)
{
	static const uint32_t flags[] = {
		[1] = FUTEX2_SIZE_U8, [2] = FUTEX2_SIZE_U16,
		[4] = FUTEX2_SIZE_U32, [8] = FUTEX2_SIZE_U64,
	};

	return flags[word.size] | (word.private ? FUTEX2_PRIVATE : 0);
}

static struct word some_word(struct walk *w, int size)
{
	static const int offsets[] = { 0, 8, 12 };
	struct word word = { .slot = some(w, SLOTS), .private = one_in(w, 3) };

	do {
		word.offset = offsets[some(w, 3)];
		word.size = size ? size : one_in(w, 4) ? 1 << some(w, 4) : 4;
	} while (word.offset % word.size);
	return word;
}

/* The value that the word holds, or now and then another. */
static uint64_t some_value(struct walk *w, int process, struct word word)
{
	return one_in(w, 4) ? some(w, 3) : value(w, process, word);
}

static uint32_t some_mask(struct walk *w)
{
	static const uint32_t masks[] = { ANY_MASK, ANY_MASK, ANY_MASK, 1, 2, 3, 1u << 31 };

	return masks[some(w, ARRAY_SIZE(masks))];
}

static int some_process(struct walk *w)
{
	return one_in(w, 10);
}

static bool map_slot(struct walk *w, int process, int slot, enum backing backing, int prot)
{
	int flags = backing == ANON ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	int file = backing == ANON ? -1 : w->memfd;
	long at = (long)(w->slots + slot * PAGE);

	w->map[process][slot] = (struct mapping) { backing, prot };
	if (backing == ANON)
		memset(w->anon[process][slot], 0, SIZE);
	return expect(w, "mmap", CALL(process, SYS_mmap, at, PAGE, prot, flags | MAP_FIXED, file,
				      backing == ANON ? 0 : (backing - FILE0) * PAGE), at);
}

static void step_remap(struct walk *w)
{
	int process = some_process(w), slot = some(w, SLOTS);
	enum backing backing = some(w, 3);
	int prot = one_in(w, 4) ? PROT_READ : one_in(w, 6) ? PROT_NONE : PROT_READ | PROT_WRITE;

	if (one_in(w, 3) && w->map[process][slot].backing == ANON) {
		NOTE("process %ld gives back slot %ld", process, slot);
		memset(w->anon[process][slot], 0, SIZE);
		expect(w, "madvise", CALL(process, SYS_madvise, (long)(w->slots + slot * PAGE),
					  PAGE, MADV_DONTNEED), 0);
		return;
	}
	NOTE("process %ld maps at slot %ld backing %ld, prot %ld", process, slot, backing, prot);
	map_slot(w, process, slot, backing, prot);
}

static void step_store(struct walk *w)
{
	int process = some_process(w);
	struct word word = some_word(w, 0);
	uint64_t v = some(w, 3);

	NOTE("process %ld stores %ld in " WORD_FORMAT, process, v, WORD_ARGS(word));
	if (!writable(w, process, word))
		return;
	memcpy(bytes(w, process, word), &v, word.size);
	memcpy(w->arena, &v, word.size);
	CALL(process, SYS_STORE, addr_in(w, word), (long)w->arena, word.size);
}

/* Waking */

/* What a wake of a word says. */
static long wake_model(struct walk *w, int process, struct word word, uint32_t count,
		       uint32_t mask)
{
	if (!word.private && !readable(w, process, word))
		return model_shares_offset(&w->model, word.offset, PAGE) ? -EFAULT : 0;
	return model_wake(&w->model, key(w, process, word), count, mask);
}

/* The count of AFUTEX_IOC_CALL: an int, and 0 or less means 1. */
static uint32_t at_least_one(int count)
{
	return count > 0 ? count : 1;
}

static int futex_call(struct walk *w, int process, struct afutex_call call)
{
	memcpy(w->arena, &call, sizeof(call));
	return IOCTL(process, w->dev, AFUTEX_IOC_CALL, w->arena);
}

static void step_wake(struct walk *w)
{
	int process = some_process(w), count = some(w, 4);
	struct word word = some_word(w, 4);
	uint32_t mask = some_mask(w);
	long ret, want;

	NOTE("process %ld wakes %ld on " WORD_FORMAT " mask %lx", process, count, WORD_ARGS(word),
	     mask);
	switch (some(w, 4)) {
	case 0: {
		struct afutex_call call = {
			.uaddr = addr_in(w, word), .op = FUTEX_WAKE_BITSET, .val = count,
			.val3 = mask,
		};

		if (one_in(w, 2)) {
			call.op = FUTEX_WAKE;
			mask = ANY_MASK;
		}
		if (word.private)
			call.op |= PRIVATE;
		want = wake_model(w, process, word, at_least_one(count), mask);
		ret = futex_call(w, process, call);
		break;
	}
	case 1: {
		struct afutex_wake args = {
			.uaddr = addr_in(w, word), .mask = mask, .count = count,
			.flags = size_flags(word),
		};

		want = wake_model(w, process, word, count, mask);
		memcpy(w->arena, &args, sizeof(args));
		ret = IOCTL(process, w->dev, AFUTEX_IOC_WAKE, w->arena);
		break;
	}
	case 2:
		want = wake_model(w, process, word, 1, ANY_MASK);
		ret = IOCTL(process, w->dev, word.private ? AFUTEX_IOC_WAKE_ONE_PRIVATE :
							    AFUTEX_IOC_WAKE_ONE, addr_in(w, word));
		break;
	default:
		want = wake_model(w, process, word, ALL_WAITERS, ANY_MASK);
		ret = IOCTL(process, w->dev, word.private ? AFUTEX_IOC_WAKE_ALL_PRIVATE :
							    AFUTEX_IOC_WAKE_ALL, addr_in(w, word));
	}
	expect(w, "woken", ret, want);
}

static void step_wakev(struct walk *w)
{
	int process = some_process(w), nr = some(w, 4);
	struct afutex_wakev *args = (void *)w->arena;
	struct afutex_wakev_word *words = (void *)(args + 1);
	long want[4], ret;

	NOTE("process %ld wakes on %ld words at once", process, nr);
	*args = (struct afutex_wakev) { .words = addr_of(words), .nr = nr };
	for (int i = 0; i < nr; i++) {
		struct word word = some_word(w, 0);

		words[i] = (struct afutex_wakev_word) {
			.uaddr = addr_in(w, word), .mask = one_in(w, 8) ? 0 : some_mask(w),
			.flags = size_flags(word), .count = some(w, 3), .result = 99,
		};
		want[i] = words[i].mask ? wake_model(w, process, word, words[i].count,
						     words[i].mask) : -EINVAL;
	}
	ret = IOCTL(process, w->dev, AFUTEX_IOC_WAKEV, args);
	expect(w, "words gone through", ret, nr);
	for (int i = 0; i < nr; i++)
		expect(w, "woken on one of the words", words[i].result, want[i]);
}

static bool op_holds(int compare, int old, int operand)
{
	switch (compare) {
	case FUTEX_OP_CMP_EQ: return old == operand;
	case FUTEX_OP_CMP_NE: return old != operand;
	case FUTEX_OP_CMP_LT: return old < operand;
	case FUTEX_OP_CMP_LE: return old <= operand;
	case FUTEX_OP_CMP_GT: return old > operand;
	default: return old >= operand;
	}
}

static uint32_t op_result(int op, uint32_t old, uint32_t arg)
{
	switch (op) {
	case FUTEX_OP_SET: return arg;
	case FUTEX_OP_ADD: return old + arg;
	case FUTEX_OP_OR: return old | arg;
	case FUTEX_OP_ANDN: return old & ~arg;
	default: return old ^ arg;
	}
}

static void step_wake_op(struct walk *w)
{
	int process = some_process(w), op = some(w, 5), compare = some(w, 6);
	int arg = some(w, 3), operand = some(w, 3), count = some(w, 3), count2 = some(w, 3);
	struct word first = some_word(w, 4), second = some_word(w, 4);
	struct afutex_call call;
	long want;

	second.private = first.private;
	call = (struct afutex_call) {
		.uaddr = addr_in(w, first), .uaddr2 = addr_in(w, second),
		.op = FUTEX_WAKE_OP | (first.private ? PRIVATE : 0), .val = count,
		.timeout = count2, .val3 = FUTEX_OP(op, arg, compare, operand),
	};
	NOTE("process %ld wakes %ld and %ld with an operation, " WORD_FORMAT
	     ", slot %ld offset %ld", process, count, count2, WORD_ARGS(first), second.slot,
	     second.offset);
	if (!writable(w, process, second) || (!first.private && !readable(w, process, first))) {
		want = -EFAULT;
	} else {
		uint64_t now = w->model.clock;
		uint32_t old = value(w, process, second), new = op_result(op, old, arg);

		memcpy(bytes(w, process, second), &new, sizeof(new));
		want = model_wake_until(&w->model, key(w, process, first), now,
					at_least_one(count), ANY_MASK);
		if (op_holds(compare, old, operand))
			want += model_wake_until(&w->model, key(w, process, second), now,
						 at_least_one(count2), ANY_MASK);
	}
	expect(w, "woken", futex_call(w, process, call), want);
}

static void step_requeue(struct walk *w)
{
	int process = some_process(w), wake = some(w, 3), move = some(w, 4);
	bool new = one_in(w, 2), compare = new || one_in(w, 2);
	struct word from = some_word(w, new ? 0 : 4), to = some_word(w, from.size);
	uint64_t val = some_value(w, process, from);
	bool absent;
	long ret, want;

	to.private = from.private;
	NOTE("process %ld wakes %ld and moves %ld from " WORD_FORMAT
	     " to slot %ld offset %ld, compare %ld", process, wake, move, WORD_ARGS(from),
	     to.slot, to.offset, compare);
	absent = !readable(w, process, from) || !readable(w, process, to);
	if (compare && !readable(w, process, from))
		want = -EFAULT;
	else if (compare && val != value(w, process, from))
		want = -EAGAIN;
	else if (!from.private && absent)
		want = -EFAULT;
	else
		want = model_requeue(&w->model, key(w, process, from), key(w, process, to), wake,
				     move);
	if (new) {
		struct afutex_requeue args = {
			.uaddr = addr_in(w, from), .val = val, .uaddr2 = addr_in(w, to),
			.flags = size_flags(from), .wake = wake, .requeue = move,
		};

		memcpy(w->arena, &args, sizeof(args));
		ret = IOCTL(process, w->dev, AFUTEX_IOC_REQUEUE, w->arena);
	} else {
		ret = futex_call(w, process, (struct afutex_call) {
			.uaddr = addr_in(w, from), .uaddr2 = addr_in(w, to), .val = wake,
			.op = (compare ? FUTEX_CMP_REQUEUE : FUTEX_REQUEUE) |
			      (from.private ? PRIVATE : 0),
			.timeout = move, .val3 = val,
		});
	}
	expect(w, "woken and moved", ret, want);
}

/* Sleeps that end at once: they have queued and left no trace. */
static void step_wait(struct walk *w)
{
	struct word word = some_word(w, 4);
	int process = some_process(w);
	uint64_t val = some_value(w, process, word);
	struct timespec64 *past = (void *)(w->arena + PAGE / 2);
	long ret, want = -ETIMEDOUT;

	NOTE("process %ld sleeps on " WORD_FORMAT " value %ld", process, WORD_ARGS(word), val);
	*past = (struct timespec64) { 0, 1 };
	if (!readable(w, process, word))
		want = -EFAULT;
	else if (val != value(w, process, word))
		want = -EAGAIN;
	if (one_in(w, 2)) {
		bool bitset = one_in(w, 2);

		ret = futex_call(w, process, (struct afutex_call) {
			.uaddr = addr_in(w, word), .val = val, .val3 = bitset ? some_mask(w) : 0,
			.timeout = addr_of(past), .op = (bitset ? FUTEX_WAIT_BITSET : FUTEX_WAIT) |
							(word.private ? PRIVATE : 0),
		});
	} else if (one_in(w, 2)) {
		struct afutex_wait args = {
			.uaddr = addr_in(w, word), .val = val, .mask = some_mask(w),
			.flags = size_flags(word), .clockid = CLOCK_MONOTONIC,
			.timeout = addr_of(past),
		};

		memcpy(w->arena, &args, sizeof(args));
		ret = IOCTL(process, w->dev, AFUTEX_IOC_WAIT, w->arena);
	} else {
		struct afutex_waitv *args = (void *)w->arena;
		struct futex_waitv *words = (void *)(args + 1);

		*args = (struct afutex_waitv) {
			.waiters = addr_of(words), .nr = 1 + some(w, 2),
			.clockid = CLOCK_MONOTONIC, .timeout = addr_of(past),
		};
		words[0] = words[1] = (struct futex_waitv) {
			.uaddr = addr_in(w, word), .val = val, .flags = size_flags(word),
		};
		ret = IOCTL(process, w->dev, AFUTEX_IOC_WAITV, args);
	}
	expect(w, "sleep", ret, want);
}

/* Descriptors of one word */

static int free_file(struct walk *w)
{
	for (int i = 0; i < FILES; i++)
		if (w->model.waiters[FILE_AT(i)].kind == NOBODY)
			return i;
	return -1;
}

static struct waiter *some_file(struct walk *w, int *i)
{
	*i = some(w, FILES);
	return &w->model.waiters[FILE_AT(*i)];
}

static bool ready(struct waiter *x)
{
	return x->kind == FUTEX_FD_FILE ? !x->queued : x->unread.count || x->unread.changed;
}

static void step_fd(struct walk *w)
{
	int process = some_process(w), i = free_file(w);
	struct word word = some_word(w, 4);
	long ret;

	NOTE("process %ld makes FUTEX_FD %ld, " WORD_FORMAT, process, i, WORD_ARGS(word));
	if (i < 0)
		return;
	ret = futex_call(w, process, (struct afutex_call) {
		.uaddr = addr_in(w, word), .op = FUTEX_FD | (word.private ? PRIVATE : 0),
	});
	if (!readable(w, process, word)) {
		expect(w, "FUTEX_FD", ret, -EFAULT);
	} else if (expect(w, "FUTEX_FD works", ret >= 0 ? 0 : ret, 0)) {
		struct waiter *x = &w->model.waiters[FILE_AT(i)];

		*x = (struct waiter) { .kind = FUTEX_FD_FILE, .mask = ANY_MASK };
		model_queue(&w->model, x, key(w, process, word));
		w->fds[i] = ret;
		w->words[i] = word;
		w->openers[i] = process;
	}
}

/* A watch that may be armed, and what the model says of it: 0 for armed, 1 for changed. */
static struct afutex_watch some_watch(struct walk *w, int process, struct word word, long *want)
{
	uint32_t compare = one_in(w, 3) ? 0 : AFUTEX_COMPARE;
	struct afutex_watch watch = {
		.uaddr = addr_in(w, word), .mask = some_mask(w),
		.val = compare ? some_value(w, process, word) : 0,
		.flags = size_flags(word) | compare | (one_in(w, 2) ? AFUTEX_PERSISTENT : 0) |
			 (compare && one_in(w, 2) ? AFUTEX_READY : 0),
	};

	*want = 0;
	if (!readable(w, process, word))
		*want = -EFAULT;
	else if (compare && watch.val != value(w, process, word))
		*want = watch.flags & AFUTEX_READY ? 1 : -EAGAIN;
	return watch;
}

static void step_open(struct walk *w)
{
	int process = some_process(w), i = free_file(w);
	struct word word = some_word(w, 0);
	struct afutex_open args = { .fd_flags = O_NONBLOCK };
	long ret, want;

	args.watch = some_watch(w, process, word, &want);
	NOTE("process %ld opens watch %ld, " WORD_FORMAT " value %ld mask %lx flags %lx", process,
	     i, WORD_ARGS(word), args.watch.val, args.watch.mask, args.watch.flags);
	if (i < 0)
		return;
	memcpy(w->arena, &args, sizeof(args));
	ret = IOCTL(process, w->dev, AFUTEX_IOC_OPEN, w->arena);
	if (want < 0) {
		expect(w, "AFUTEX_IOC_OPEN", ret, want);
	} else if (expect(w, "AFUTEX_IOC_OPEN works", ret >= 0 ? 0 : ret, 0)) {
		struct waiter *x = &w->model.waiters[FILE_AT(i)];

		*x = (struct waiter) {
			.kind = WATCH, .mask = args.watch.mask,
			.persistent = args.watch.flags & AFUTEX_PERSISTENT,
		};
		x->unread.changed = want;
		if (!want)
			model_queue(&w->model, x, key(w, process, word));
		w->fds[i] = ret;
		w->words[i] = word;
		w->openers[i] = process;
	}
}

static void close_file(struct walk *w, int process, int i)
{
	struct waiter *x = &w->model.waiters[FILE_AT(i)];

	if (x->kind == NOBODY)
		return;
	expect(w, "close", CALL(process, SYS_close, w->fds[i]), 0);
	x->queued = false;
	model_pass_on(&w->model, x);
	x->kind = NOBODY;
}

static void step_close(struct walk *w)
{
	int process = some_process(w), i = some(w, FILES);

	NOTE("process %ld closes %ld", process, i);
	close_file(w, process, i);
}

static void step_read(struct walk *w)
{
	int i, process = some_process(w), how = some(w, 12);
	struct waiter *x = some_file(w, &i);
	struct unread u = x->unread;
	uint64_t v = 0;
	long ret, want = sizeof(v);

	NOTE("process %ld reads watch %ld, in way %ld", process, i, how);
	if (x->kind != WATCH)
		return;
	/* Nothing is mapped at 8. */
	ret = CALL(process, SYS_read, w->fds[i], how == 0 ? 8 : (long)w->arena,
		   how == 1 ? 7 : sizeof(v));
	if (how == 1)
		want = -EINVAL;
	else if (!ready(x))
		want = -EAGAIN;
	else if (how == 0)
		want = -EFAULT;
	if (!expect(w, "read", ret, want) || want < 0)
		return;
	memcpy(&v, w->arena, sizeof(v));
	model_read(x);
	expect(w, "wakes", v & ~AFUTEX_CHANGED, u.count);
	expect(w, "AFUTEX_CHANGED", !!(v & AFUTEX_CHANGED), u.changed);
}

/*
 * What the model says of arming a watch again if the word holds `val`: 0, or an error after
 * which it is as it was, or -EAGAIN.
 */
static long rearm_model(struct walk *w, int process, int i, bool compare, uint64_t val)
{
	struct word word = w->words[i];

	if (!readable(w, process, word))
		return -EFAULT;
	if (process != w->openers[i] && key(w, process, word).kind != KEY_FILE)
		return -EXDEV;
	return compare && val != value(w, process, word) ? -EAGAIN : 0;
}

static void step_next(struct walk *w)
{
	int i, process = some_process(w);
	struct waiter *x = some_file(w, &i);
	struct word word = w->words[i];
	uint64_t val;
	long ret, want;

	if (x->kind != WATCH) {
		NOTE("no NEXT");
		return;
	}
	val = some_value(w, process, word);
	NOTE("process %ld: NEXT of watch %ld, value %ld", process, i, val);
	ret = IOCTL(process, w->fds[i], AFUTEX_IOC_NEXT, val);
	want = rearm_model(w, process, i, true, val);
	if (want == -EAGAIN) {
		x->queued = false;
		model_read(x);
	} else if (!want) {
		want = model_read(x);
		model_queue(&w->model, x, key(w, process, word));
	}
	expect(w, "AFUTEX_IOC_NEXT", ret, want);
}

static void step_rearm(struct walk *w)
{
	int i, process = some_process(w);
	struct waiter *x = some_file(w, &i);
	struct afutex_rearm *args = (void *)w->arena;
	struct word word = w->words[i];
	long ret, want, count;

	if (x->kind != WATCH) {
		NOTE("no REARM");
		return;
	}
	*args = (struct afutex_rearm) { .count = 99 };
	if (!one_in(w, 3)) {
		args->flags = AFUTEX_COMPARE | (one_in(w, 2) ? AFUTEX_READY : 0);
		args->val = some_value(w, process, word);
	}
	NOTE("process %ld: REARM of watch %ld, value %ld flags %lx", process, i, args->val,
	     args->flags);
	ret = IOCTL(process, w->fds[i], AFUTEX_IOC_REARM, args);
	want = rearm_model(w, process, i, args->flags, args->val);
	count = 0;
	if (want == -EAGAIN) {
		x->queued = false;
		count = model_read(x);
		x->unread.changed = args->flags & AFUTEX_READY;
		if (x->unread.changed)
			want = 0;
	} else if (!want) {
		count = model_read(x);
		model_queue(&w->model, x, key(w, process, word));
	}
	expect(w, "AFUTEX_IOC_REARM", ret, want);
	expect(w, "wakes", args->count, count);
}

static void step_fdinfo(struct walk *w)
{
	char path[64], text[512] = "", *state, *wakes;
	int fd, i;
	struct waiter *x = some_file(w, &i);
	const char *want = x->queued ? "armed" : ready(x) ? "fired" : "idle";

	NOTE("fdinfo of %ld", i);
	if (x->kind == NOBODY)
		return;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", w->fds[i]);
	fd = open(path, O_RDONLY);
	expect(w, "fdinfo can be read", fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, true);
	close(fd);
	state = strstr(text, "afutex-state:\t");
	wakes = strstr(text, "afutex-wakes:\t");
	expect(w, "the state is armed, fired or idle as it should be",
	       state && !strncmp(state + 14, want, strlen(want)), true);
	if (x->kind == WATCH)
		expect(w, "afutex-wakes", wakes ? atol(wakes + 14) : -1, x->unread.count);
}

/* Sets */

static struct waiter *member(struct walk *w, int set, int i)
{
	return &w->model.waiters[MEMBER_AT(set, i)];
}

/* Arms a member as the model has it, or not. */
static long arm_model(struct walk *w, struct waiter *x, int process, struct word word, long want)
{
	if (want == 1) {
		x->changed = true;
		model_make_ready(&w->model, x);
		return 0;
	}
	if (!want)
		model_queue(&w->model, x, key(w, process, word));
	return want;
}

static void remove_model(struct walk *w, struct waiter *x)
{
	x->queued = false;
	x->ready = 0;
	model_pass_on(&w->model, x);
	x->kind = NOBODY;
}

/* One item, what the model says of it, and the member that it is about, or -1. */
static long some_item(struct walk *w, int process, int set, struct afutex_ctl *item, int *about)
{
	struct word word = some_word(w, 0);
	struct waiter *x;
	long want;
	int i;

	/* Not one whose number this batch is yet to return. */
	do {
		i = some(w, MEMBERS);
		x = member(w, set, i);
	} while (x->kind != NOBODY && w->ids[set][i] == NO_ID);

	*about = i;
	*item = (struct afutex_ctl) { .result = 99, .id = 1000 };
	if (x->kind != NOBODY && one_in(w, 3)) {
		item->op = AFUTEX_CTL_DEL;
		item->id = w->ids[set][i];
		remove_model(w, x);
		return 0;
	}
	item->watch = some_watch(w, process, word, &want);
	item->watch.cookie = some(w, 1 << 30);
	if (x->kind == NOBODY && one_in(w, 8)) {
		*about = -1;
		item->op = AFUTEX_CTL_MOD;
		return -ENOENT;
	}
	if (x->kind != NOBODY) {
		item->op = AFUTEX_CTL_MOD;
		item->id = w->ids[set][i];
		x->queued = false;
		/* They may be for another word. The event stays. */
		model_pass_on(&w->model, x);
	} else {
		item->op = AFUTEX_CTL_ADD;
		if (want < 0)
			return want;
		*x = (struct waiter) { .kind = MEMBER, .set = set };
		w->ids[set][i] = NO_ID;
	}
	x->cookie = item->watch.cookie;
	x->mask = item->watch.mask;
	x->persistent = item->watch.flags & AFUTEX_PERSISTENT;
	return arm_model(w, x, process, word, want);
}

#define ITEMS	3

struct batch {
	int nr, about[ITEMS];
	long want[ITEMS];
	struct afutex_ctl *items;
};

static struct batch some_batch(struct walk *w, int process, int set, struct afutex_ctl *items,
			       int nr)
{
	struct batch b = { .nr = nr, .items = items };

	for (int i = 0; i < nr; i++)
		b.want[i] = some_item(w, process, set, &items[i], &b.about[i]);
	return b;
}

static void check_batch(struct walk *w, int set, struct batch *b)
{
	for (int i = 0; i < b->nr; i++) {
		struct afutex_ctl *item = &b->items[i];

		if (!expect(w, "result of an item", item->result, b->want[i]) ||
		    item->op != AFUTEX_CTL_ADD || item->result)
			continue;
		for (int j = 0; j < MEMBERS; j++)
			if (member(w, set, j)->kind != NOBODY)
				expect(w, "the number is given twice", w->ids[set][j] == item->id,
				       false);
		w->ids[set][b->about[i]] = item->id;
	}
}

#define NOTE_BATCH(what, b)						\
	NOTE("process %ld " what " set %ld, %ld items: op %ld of %ld, op %ld of %ld, " \
	     "op %ld of %ld", process, set, (b).nr,			\
	     (b).nr > 0 ? (b).items[0].op : 0, (b).about[0],		\
	     (b).nr > 1 ? (b).items[1].op : 0, (b).about[1],		\
	     (b).nr > 2 ? (b).items[2].op : 0, (b).about[2])

static void step_ctl(struct walk *w)
{
	int process = some_process(w), set = some(w, SETS);
	struct afutex_ctlv *args = (void *)w->arena;
	struct batch b = some_batch(w, process, set, (void *)(args + 1), some(w, ITEMS + 1));

	NOTE_BATCH("changes", b);
	*args = (struct afutex_ctlv) { .items = addr_of(b.items), .nr = b.nr };
	expect(w, "items gone through", IOCTL(process, w->sets[set], AFUTEX_IOC_CTL, args), b.nr);
	check_batch(w, set, &b);
}

/* What was read of a set with room for so many events. */
static void check_events(struct walk *w, int set, struct afutex_event *ev, int room, long ret,
			 long none)
{
	int n = 0;
	struct waiter *x;

	for (; n < room && (x = model_next_event(&w->model, set)); n++) {
		if (ret > n) {
			uint32_t why = (x->count ? AFUTEX_WOKEN : 0) |
				       (x->changed ? AFUTEX_VALUE_CHANGED : 0);

			expect(w, "cookie of an event", ev[n].cookie, x->cookie);
			expect(w, "why there is an event", ev[n].why, why);
			expect(w, "count of an event", ev[n].count, x->count);
		}
		model_delivered(x);
	}
	expect(w, "events", ret, n ? n : none);
}

static void step_set_read(struct walk *w)
{
	int process = some_process(w), set = some(w, SETS);
	int room = some(w, 5), mapped = one_in(w, 6) ? some(w, 3) : room;
	/* What does not fit the arena is beyond its end. */
	struct afutex_event *ev = (struct afutex_event *)(w->arena + PAGE) - mapped;
	long ret;

	NOTE("process %ld reads set %ld, room for %ld, of which %ld are mapped", process, set, room,
	     mapped);
	ret = CALL(process, SYS_read, w->sets[set], (long)ev, room * sizeof(*ev));
	if (room == 0) {
		expect(w, "read of a set", ret, -EINVAL);
		return;
	}
	if (ret > 0)
		ret /= sizeof(*ev);
	if (mapped == 0 && model_next_event(&w->model, set))
		expect(w, "read of a set", ret, -EFAULT);
	else
		check_events(w, set, ev, room < mapped ? room : mapped, ret, -EAGAIN);
}

static void step_set_wait(struct walk *w)
{
	int process = some_process(w), set = some(w, SETS);
	struct afutex_set_wait *args = (void *)w->arena;
	struct timespec64 *past = (void *)(w->arena + 256);
	struct afutex_event *ev = (void *)(w->arena + 512);
	struct batch b = some_batch(w, process, set, (void *)(w->arena + 1024),
				    some(w, ITEMS + 1));
	long ret;

	NOTE_BATCH("waits for", b);
	*past = (struct timespec64) { 0, 1 };
	*args = (struct afutex_set_wait) {
		.items = addr_of(b.items), .nr_items = b.nr, .nr_events = 1 + some(w, 4),
		.events = addr_of(ev), .timeout = addr_of(past), .clockid = CLOCK_MONOTONIC,
	};
	ret = IOCTL(process, w->sets[set], AFUTEX_IOC_SET_WAIT, args);
	check_batch(w, set, &b);
	check_events(w, set, ev, args->nr_events, ret, -ETIMEDOUT);
}

static void close_set(struct walk *w, int process, int set)
{
	expect(w, "close", CALL(process, SYS_close, w->sets[set]), 0);
	/* None of them gets what another passes on. */
	for (int i = 0; i < MEMBERS; i++)
		member(w, set, i)->queued = false;
	for (int id = 0; id < 2 * MEMBERS; id++)
		for (int i = 0; i < MEMBERS; i++)
			if (member(w, set, i)->kind != NOBODY && w->ids[set][i] == id)
				remove_model(w, member(w, set, i));
}

static void open_set(struct walk *w, int process, int set)
{
	struct afutex_set *args = (void *)w->arena;

	*args = (struct afutex_set) { .fd_flags = O_NONBLOCK };
	w->sets[set] = IOCTL(process, w->dev, AFUTEX_IOC_SET, args);
	expect(w, "AFUTEX_IOC_SET works", w->sets[set] >= 0 ? 0 : w->sets[set], 0);
}

static void step_set(struct walk *w)
{
	int process = some_process(w), set = some(w, SETS);

	NOTE("process %ld closes set %ld and makes it anew", process, set);
	close_set(w, process, set);
	open_set(w, process, set);
}

/* The walk */

static const struct {
	void (*take)(struct walk *w);
	int weight;
} steps[] = {
	{ step_store, 10 }, { step_wake, 22 }, { step_wakev, 4 }, { step_wake_op, 4 },
	{ step_requeue, 9 }, { step_wait, 1 }, { step_fd, 3 }, { step_open, 7 },
	{ step_close, 5 }, { step_read, 12 }, { step_next, 14 }, { step_rearm, 6 },
	{ step_ctl, 9 }, { step_set_read, 6 }, { step_set_wait, 4 }, { step_set, 1 },
	{ step_remap, 1 }, { step_fdinfo, 1 },
};

static void take_step(struct walk *w)
{
	int i = 0, at = 0, all = 0;

	for (i = 0; i < ARRAY_SIZE(steps); i++)
		all += steps[i].weight;
	at = some(w, all);
	for (i = 0; at >= steps[i].weight; i++)
		at -= steps[i].weight;
	steps[i].take(w);
}

/* What poll(2) says of all descriptors. */
static void check_poll(struct walk *w)
{
	struct pollfd pfds[FILES + SETS];
	bool want[FILES + SETS];
	int n = 0;

	for (int i = 0; i < FILES; i++) {
		struct waiter *x = &w->model.waiters[FILE_AT(i)];

		if (x->kind == NOBODY)
			continue;
		pfds[n] = (struct pollfd) { .fd = w->fds[i], .events = READABLE | POLLOUT };
		want[n++] = ready(x);
	}
	for (int i = 0; i < SETS; i++) {
		pfds[n] = (struct pollfd) { .fd = w->sets[i], .events = READABLE | POLLOUT };
		want[n++] = model_next_event(&w->model, i);
	}
	if (poll(pfds, n, 0) < 0)
		expect(w, "poll", -errno, 0);
	for (int i = 0; i < n; i++)
		expect(w, "what poll says", pfds[i].revents, want[i] ? READABLE : 0);
}

static void check_counters(struct walk *w)
{
	int words, waiting = model_waiting(&w->model, &words);

	expect(w, "the counter queued", counter("queued"), waiting);
	expect(w, "the counter waiters", counter("waiters"), waiting);
	expect(w, "the counter keys", counter("keys"), words);
}

static void walk_begin(struct walk *w, uint64_t seed)
{
	static const enum backing first[SLOTS] = { ANON, ANON, FILE0, FILE0 };

	memset(&w->model, 0, sizeof(w->model));
	/* Seeds are numbers in a row. */
	w->random = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	if (!w->random)
		w->random = 1;
	w->step = 0;
	NOTE("begin");
	for (int process = 0; process < PROCESSES; process++)
		for (int slot = 0; slot < SLOTS; slot++)
			map_slot(w, process, slot, first[slot], PROT_READ | PROT_WRITE);
	memset(w->file, 0, sizeof(w->file));
	expect(w, "ftruncate", ftruncate(w->memfd, 0) || ftruncate(w->memfd, FILE_PAGES * PAGE), 0);
	for (int set = 0; set < SETS; set++)
		open_set(w, 0, set);
}

static void walk_end(struct walk *w)
{
	NOTE("end");
	for (int i = 0; i < FILES; i++) {
		close_file(w, 0, i);
		check_poll(w);
	}
	for (int set = 0; set < SETS; set++)
		close_set(w, 0, set);
	expect(w, "descriptors left", counter("fds"), 0);
	expect(w, "pages left pinned", counter("pinned"), 0);
	check_counters(w);
}

FIXTURE(walk)
{
	struct walk walk;
};

FIXTURE_SETUP(walk)
{
	struct walk *w = &self->walk;

	memset(w, 0, sizeof(*w));
	w->dev = afutex_open();
	ASSERT_GE(w->dev, 0);
	w->memfd = memfd_create("words", MFD_CLOEXEC);
	ASSERT_GE(w->memfd, 0);
	w->slots = mmap(NULL, SLOTS * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)w->slots);
	w->arena = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)w->arena);
	ASSERT_EQ(0, mprotect(w->arena + PAGE, PAGE, PROT_NONE));
	w->order = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)w->order);
	/* fork() with the descriptors in common. */
	w->other = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, NULL, NULL, 0);
	ASSERT_GE(w->other, 0);
	if (!w->other)
		other_main(w->order);
}

FIXTURE_TEARDOWN(walk)
{
	struct walk *w = &self->walk;

	kill(w->other, SIGKILL);
	waitpid(w->other, NULL, 0);
	close(w->dev);
	EXPECT_IDLE();
}

TEST_F_TIMEOUT(walk, every_call_does_what_is_documented, 900)
{
	struct walk *w = &self->walk;
	const char *given = getenv("WALK_SEED");
	uint64_t seed;

	if (given)
		seed = strtoull(given, NULL, 0);
	else
		ASSERT_EQ(sizeof(seed), getrandom(&seed, sizeof(seed), 0));
	/* A million steps where nothing is slow. */
	fprintf(stderr, "# WALK_SEED=%llu, %d walks of %d steps\n", (unsigned long long)seed,
		rounds(500), STEPS);
	for (int walks = 0; walks < rounds(500); walks++, seed++) {
		walk_begin(w, seed);
		while (w->step < STEPS && !w->failed) {
			w->step++;
			take_step(w);
			if (w->step % 4 == 0)
				check_poll(w);
			if (w->step % 500 == 0)
				check_counters(w);
		}
		if (!w->failed)
			walk_end(w);
		ASSERT_FALSE(w->failed) {
			TH_LOG("WALK_SEED=%llu repeats it", (unsigned long long)seed);
		}
	}
}

TEST_HARNESS_MAIN
