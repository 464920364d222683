// SPDX-License-Identifier: GPL-2.0
/*
 * Wakes of futex(2) while others trace its functions: whoever comes first, and while
 * they come and go, no watch misses one, and no tracer misses a call.
 *
 * bpftrace and perf use what kprobe and fprobe events do, which tracefs makes.
 */
#include "native.h"

#include <sys/mount.h>

#define TRACING "/sys/kernel/tracing/"
#define PERSISTENT AFUTEX_PERSISTENT

/* How one of them traces the functions of futex(2). */
struct tracer {
	/* For current_tracer, with the functions below as its filter. */
	const char *name;
	/* For dynamic_events, one a line. */
	const char *events[5];
};

static const char * const functions[] = {
	"futex_wake", "futex_requeue", "futex_wake_op", "futex_robust_list_clear_pending", NULL,
};

static bool write_line(const char *file, int flags, const char *line)
{
	char path[128];
	int fd, len;

	snprintf(path, sizeof(path), TRACING "%s", file);
	fd = open(path, O_WRONLY | flags);
	if (fd < 0)
		return false;
	len = dprintf(fd, "%s\n", line);
	close(fd);
	return len == strlen(line) + 1;
}

/* In set_ftrace_filter, each by itself; those that this kernel has. */
static bool filter_functions(void)
{
	bool has = write_line("set_ftrace_filter", O_TRUNC, functions[0]);

	for (int i = 1; functions[i]; i++)
		write_line("set_ftrace_filter", O_APPEND, functions[i]);
	return has;
}

/* False if this kernel has no such tracer. */
static bool tracer_prepare(const struct tracer *tracer)
{
	if (tracer->name)
		return filter_functions();
	for (int i = 0; tracer->events[i]; i++)
		if (!write_line("dynamic_events", O_APPEND, tracer->events[i]))
			return false;
	return true;
}

static bool tracer_on(const struct tracer *tracer)
{
	return tracer->name ? write_line("current_tracer", 0, tracer->name) :
			      write_line("events/afutex_test/enable", 0, "1");
}

static bool tracer_off(const struct tracer *tracer)
{
	return tracer->name ? write_line("current_tracer", 0, "nop") :
			      write_line("events/afutex_test/enable", 0, "0");
}

static void tracer_forget(const struct tracer *tracer)
{
	tracer_off(tracer);
	if (tracer->name)
		write_line("set_ftrace_filter", O_TRUNC, "");
	else
		write_line("dynamic_events", O_TRUNC, "");
}

/* How often what is traced names the function. */
static int times_traced(const char *function)
{
	static char line[4096];
	FILE *trace = fopen(TRACING "trace", "r");
	int times = 0;

	if (!trace)
		return -1;
	while (fgets(line, sizeof(line), trace)) {
		const char *at = strstr(line, function);

		/* Not one whose name begins like it. */
		times += at && line[0] != '#' && !strchr("_abcdefghijklmnopqrstuvwxyz",
							 at[strlen(function)]);
	}
	fclose(trace);
	return times;
}

FIXTURE(native_traced)
{
	int dev, file;
	/* Of the word as a private one, and as a shared one. */
	int fds[2];
	word_t *word, *word2;
	void *map;
};

FIXTURE_VARIANT(native_traced)
{
	struct tracer tracer;
};

#define TRACER(variant, ...)						\
FIXTURE_VARIANT_ADD(native_traced, variant)				\
{									\
	.tracer = { __VA_ARGS__ },					\
}

#define EVENTS(kind, how)						\
	kind ":afutex_test/wake futex_wake" how, kind ":afutex_test/requeue futex_requeue" how,	\
	kind ":afutex_test/wake_op futex_wake_op" how

TRACER(function, .name = "function");
TRACER(function_graph, .name = "function_graph");
TRACER(kprobe, .events = { EVENTS("p", "") });
TRACER(kretprobe, .events = { EVENTS("r", "") });
TRACER(fprobe_exit, .events = { EVENTS("f", "%return") });
TRACER(all_events, .events = {
	"p:afutex_test/wake futex_wake", "f:afutex_test/requeue futex_requeue",
	"r:afutex_test/wake_op futex_wake_op", "f:afutex_test/wake_op_exit futex_wake_op%return",
});

static const int scopes[] = { PRIVATE, SHARED };

FIXTURE_SETUP(native_traced)
{
	self->fds[0] = self->fds[1] = self->dev = -1;
	self->map = memory_map(MEMFD, &self->file);
	ASSERT_NE(NULL, self->map);
	self->word = (word_t *)((char *)self->map + 64);
	self->word2 = (word_t *)((char *)self->map + 128);
	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	tracer_forget(&variant->tracer);
	if (!tracer_prepare(&variant->tracer) || !tracer_on(&variant->tracer)) {
		tracer_forget(&variant->tracer);
		SKIP(return, "this kernel has no such tracer");
	}
	ASSERT_TRUE(tracer_off(&variant->tracer));
}

FIXTURE_TEARDOWN(native_traced)
{
	tracer_forget(&variant->tracer);
	for (int i = 0; i < 2; i++)
		if (self->fds[i] >= 0)
			close(self->fds[i]);
	if (self->dev >= 0)
		close(self->dev);
	munmap(self->map, memory_size(MEMFD));
	close(self->file);
	EXPECT_IDLE();
}

/* The first watch since the module was loaded: hooks are placed for it. */
#define HOOK_COMES() do {						\
	self->dev = afutex_open();					\
	ASSERT_GE(self->dev, 0);					\
	ASSERT_EQ(0, counter("native_in_place"));			\
	for (int __i = 0; __i < 2; __i++) {				\
		self->fds[__i] = native_watch(self->dev, self->word, scopes[__i],	\
					      PERSISTENT, 0);		\
		ASSERT_GE(self->fds[__i], 0);				\
	}								\
	ASSERT_EQ(1, counter("native_in_place"));			\
} while (0)

#define HOOK_GOES() do {						\
	close(self->fds[0]);						\
	close(self->fds[1]);						\
	close(self->dev);						\
	self->fds[0] = self->fds[1] = self->dev = -1;			\
	ASSERT_TRUE(reload(""));					\
} while (0)

/* The wake was told of, by now or, from the worker, soon, and no other. */
#define SEEN(i, call) do {						\
	ASSERT_GE(call, 0);						\
	EXPECT_TRUE(woken(self->fds[i], 1));				\
} while (0)

/* Each kind of wake is seen, those that store inside, too. */
#define WAKES_ARE_SEEN() do {						\
	unsigned long pending = 1;					\
	for (int i = 0; i < 2; i++) {					\
		int scope = scopes[i];					\
		SEEN(i, futex(self->word, FUTEX_WAKE | scope, 1, 0, NULL, 0));	\
		SEEN(i, futex(self->word, FUTEX_REQUEUE | scope, 1, 1, self->word2, 0));	\
		SEEN(i, futex(self->word2, FUTEX_WAKE_OP | scope, 1, 1, self->word,	\
			      FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0)));	\
		SEEN(i, futex(self->word, FUTEX_WAKE_OP | scope, 1, 1, self->word2,	\
			      FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0)));	\
		*self->word = 1;					\
		if (futex(self->word, FUTEX_UNLOCK_WAKE | scope, 1, 0, &pending, 0) >= 0)	\
			EXPECT_TRUE(woken(self->fds[i], 1));		\
	}								\
} while (0)

/* The tracer saw each of these calls, too. */
#define CALLS_ARE_TRACED() do {						\
	ASSERT_TRUE(write_line("trace", O_TRUNC, ""));			\
	WAKES_ARE_SEEN();						\
	EXPECT_GE(times_traced("futex_wake"), 2);			\
	EXPECT_GE(times_traced("futex_requeue"), 2);			\
	EXPECT_GE(times_traced("futex_wake_op"), 4);			\
} while (0)

TEST_F(native_traced, in_every_order)
{
	const struct tracer *tracer = &variant->tracer;

	/* The tracer first. */
	ASSERT_TRUE(reload(""));
	ASSERT_TRUE(tracer_on(tracer));
	HOOK_COMES();
	CALLS_ARE_TRACED();

	/* It goes, and comes back, and the hooks stay. */
	ASSERT_TRUE(tracer_off(tracer));
	WAKES_ARE_SEEN();
	ASSERT_TRUE(tracer_on(tracer));
	CALLS_ARE_TRACED();

	/* The hooks go, and come back, and it stays. */
	HOOK_GOES();
	ASSERT_TRUE(write_line("trace", O_TRUNC, ""));
	ASSERT_EQ(0, futex(self->word, FUTEX_WAKE, 1, 0, NULL, 0));
	EXPECT_GE(times_traced("futex_wake"), 1);
	HOOK_COMES();
	CALLS_ARE_TRACED();
	HOOK_GOES();

	/* The hooks first, and alone at last. */
	ASSERT_TRUE(tracer_off(tracer));
	HOOK_COMES();
	WAKES_ARE_SEEN();
	ASSERT_TRUE(tracer_on(tracer));
	CALLS_ARE_TRACED();
	ASSERT_TRUE(tracer_off(tracer));
	WAKES_ARE_SEEN();
}

/* The other side: it wakes once for each turn that it is given, in every way in turn. */
struct traced_waker {
	word_t *word, *word2;
	_Atomic uint32_t turn;
	_Atomic bool stop;
	pthread_t thread;
};

static int scope_of(uint32_t round)
{
	return scopes[round / 2 % 2];
}

static void *wake_by_turns(void *arg)
{
	struct traced_waker *waker = arg;

	for (uint32_t round = 1;; round++) {
		while (waker->turn != round) {
			if (waker->stop)
				return NULL;
			sched_yield();
		}
		if (round % 2) {
			++*waker->word;
			futex(waker->word, FUTEX_WAKE | scope_of(round), 1, 0, NULL, 0);
		} else {
			futex(waker->word2, FUTEX_WAKE_OP | scope_of(round), 1, 1, waker->word,
			      FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0));
		}
	}
}

struct switched {
	const struct tracer *tracer;
	_Atomic bool stop;
	_Atomic int times;
	pthread_t thread;
};

static void *switch_tracer(void *arg)
{
	struct switched *switched = arg;

	while (!switched->stop) {
		if (!tracer_on(switched->tracer) || !tracer_off(switched->tracer))
			break;
		switched->times++;
	}
	return NULL;
}

/*
 * A wake that is missed is waited for until this fails.
 *
 * Not with function_graph: a call that is entered while it comes or goes may get the mark of the
 * other user of the shadow stack, which the kernel (7.3) warns of in fprobe_return(). That
 * is so with any fprobe.
 */
TEST_F_TIMEOUT(native_traced, comes_and_goes, 600)
{
	struct switched switched = { .tracer = &variant->tracer };
	struct traced_waker waker = { .word = self->word, .word2 = self->word2 };
	int armed = 0, round;

	if (variant->tracer.name && !strcmp(variant->tracer.name, "function_graph"))
		SKIP(return, "the kernel warns when it comes or goes beside an fprobe");
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	for (int i = 0; i < 2; i++) {
		self->fds[i] = native_watch(self->dev, self->word, scopes[i], 0, 0);
		ASSERT_GE(self->fds[i], 0);
	}
	ASSERT_EQ(0, pthread_create(&waker.thread, NULL, wake_by_turns, &waker));
	ASSERT_EQ(0, pthread_create(&switched.thread, NULL, switch_tracer, &switched));
	/* Until the tracer came and went, at least. */
	for (round = 1; round <= rounds(1000) || switched.times < 1; round++) {
		int fd = self->fds[scope_of(round) == SHARED];
		uint32_t before = *self->word;

		waker.turn = round;
		do {
			if (ioctl(fd, AFUTEX_IOC_NEXT, (unsigned long)before) < 0) {
				ASSERT_EQ(EAGAIN, errno);
				break;
			}
			armed++;
			ASSERT_EQ(READABLE, poll_ms(fd, 60000));
		} while (*self->word == before);
		ASSERT_NE(before, *self->word);
	}
	waker.stop = switched.stop = true;
	pthread_join(waker.thread, NULL);
	pthread_join(switched.thread, NULL);
	EXPECT_GE(switched.times, 1);
	TH_LOG("armed %d times in %d rounds; the tracer came %d times", armed, round - 1,
	       switched.times);
}

#define PATCH "/sys/kernel/livepatch/afutex_livepatch/"

/* The module beside this program. */
static int patch_open(void)
{
	char path[256] = "";
	char *end;

	if (readlink("/proc/self/exe", path, sizeof(path) - 32) <= 0)
		return -1;
	end = strrchr(path, '/');
	if (!end)
		return -1;
	snprintf(end, path + sizeof(path) - end, "/afutex_livepatch.ko");
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* Whether all tasks have come to the patch, or left it. */
static bool patch_settles(void)
{
	char state = '1';
	int fd;

	do {
		fd = open(PATCH "transition", O_RDONLY);
		if (fd < 0)
			return errno == ENOENT;
		if (read(fd, &state, 1) != 1)
			state = '0';
		close(fd);
		sleep_ms(10);
	} while (state != '0');
	return true;
}

static bool patch_comes(int ko)
{
	return !syscall(SYS_finit_module, ko, "", 0) && patch_settles();
}

static bool patch_goes(void)
{
	write_string(PATCH "enabled", "0");
	return patch_settles() &&
	       eventually(!syscall(SYS_delete_module, "afutex_livepatch", O_NONBLOCK));
}

/*
 * A live patch that wakes nobody, and adds 1000 in FUTEX_WAKE_OP: calls of it are seen
 * as those of what it replaces, after what it stored, whichever came first.
 */
TEST(live_patch)
{
	int ko = patch_open(), dev, fds[2];
	word_t words[2];

	if (ko < 0)
		SKIP(return, "this kernel has no live patches");
	for (int hooks_first = 0; hooks_first < 2; hooks_first++) {
		ASSERT_TRUE(reload(""));
		if (!hooks_first)
			ASSERT_TRUE(patch_comes(ko));
		dev = afutex_open();
		ASSERT_GE(dev, 0);
		for (int i = 0; i < 2; i++) {
			words[i] = 0;
			fds[i] = native_watch(dev, &words[i], i ? SHARED : PRIVATE, PERSISTENT, 0);
			ASSERT_GE(fds[i], 0);
		}
		if (hooks_first)
			ASSERT_TRUE(patch_comes(ko));
		for (int i = 0; i < 2; i++) {
			int scope = i ? SHARED : PRIVATE;

			EXPECT_EQ(0, futex(&words[i], FUTEX_WAKE | scope, 1, 0, NULL, 0));
			EXPECT_TRUE(woken(fds[i], 1));
			EXPECT_EQ(0, futex(&words[!i], FUTEX_WAKE_OP | scope, 1, 1, &words[i],
					   FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0)));
			EXPECT_TRUE(woken(fds[i], 1));
			EXPECT_EQ(1000, words[i]);
		}
		ASSERT_TRUE(patch_goes());
		for (int i = 0; i < 2; i++) {
			EXPECT_EQ(0, futex(&words[!i], FUTEX_WAKE_OP | (i ? SHARED : PRIVATE), 1,
					   1, &words[i],
					   FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0)));
			EXPECT_TRUE(woken(fds[i], 1));
			EXPECT_EQ(1001, words[i]);
			close(fds[i]);
		}
		close(dev);
	}
	close(ko);
	EXPECT_IDLE();
}

TEST_HARNESS_MAIN
