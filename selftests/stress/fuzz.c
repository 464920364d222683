// SPDX-License-Identifier: GPL-2.0
/*
 * Calls with valid, nearly valid and invalid arguments, from several threads of several
 * processes at once, on descriptors and memory that come and go; then all of them are
 * killed. No call returns an errno that does not exist, every process can be killed, and
 * nothing is left. The runner checks that the kernel reports nothing.
 *
 * FUZZ_SEED in the environment is for other runs than the usual ones.
 */
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "domain.h"
#include "memory.h"

#define PROCESSES	4
#define THREADS		3
#define FDS		12
#define PAGES		4
#define PAGE		4096

/* The device, and a domain that all processes have. */
static int dev, domain, memfd;
/* Words that all processes share, and words of each. */
static char *shared, *own;
static _Atomic int fds[FDS];
static _Thread_local uint64_t state;

static uint32_t some(uint32_t below)
{
	/* xorshift64*: https://vigna.di.unimi.it/ftp/papers/xorshift.pdf */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 2685821657736338717ULL >> 32) % below;
}

static bool rarely(void)
{
	return !some(16);
}

#define ONE_OF(...) ({							\
	uint64_t __of[] = { __VA_ARGS__ };				\
	__of[some(ARRAY_SIZE(__of))]; })

static uint64_t address(void)
{
	char *base = some(2) ? shared : own;
	uint64_t good = addr_of(base) + some(PAGES) * PAGE + some(4) * 8;

	if (!rarely())
		return good;
	return ONE_OF(0, 4, good + 1, good + 2, addr_of(shared) + PAGES * PAGE,
		      addr_of(own) - 4, 0x7ffffffff000 - 4, 0x7ffffffff000, 0x800000000000,
		      0xffff888000000000, 0xffffffff81000000, ~0ULL, ~7ULL, 1ULL << 32);
}

static uint32_t word_flags(void)
{
	if (rarely())
		return some(1 << 12);
	return FUTEX2_SIZE_U32 | (some(2) ? FUTEX2_PRIVATE : 0);
}

static uint32_t how(void)
{
	return some(8) & 7 ? ONE_OF(0, AFUTEX_COMPARE, AFUTEX_PERSISTENT,
				    AFUTEX_COMPARE | AFUTEX_READY,
				    AFUTEX_COMPARE | AFUTEX_PERSISTENT) : some(1 << 11);
}

static uint64_t value(void)
{
	return rarely() ? ONE_OF(~0ULL, 1ULL << 32, 0xffffffff, 0x80000000) : some(2);
}

static uint32_t number(void)
{
	return rarely() ? ONE_OF(0x7fffffff, 0x80000000, 0xffffffff, 128, 129, 1 << 20) : some(4);
}

static uint32_t mask(void)
{
	return some(4) ? ~0u : some(4);
}

/* Mostly none that would end this, so that there is something to see. */
static uint32_t signal_number(void)
{
	uint32_t any = some(70);

	/* The C library's own cannot be ignored. */
	return rarely() && (any < 32 || any > 33) ? any : ONE_OF(0, 0, SIGIO, SIGRTMIN);
}

static struct timespec64 soon = { 0, 1000000 }, never = { -1, 0 }, wrong = { 0, 1000000000 };

static uint64_t timeout(void)
{
	return rarely() ? ONE_OF(addr_of(&never), addr_of(&wrong), address()) :
			  ONE_OF(0, addr_of(&soon));
}

static int32_t clock_id(void)
{
	return rarely() ? some(12) : CLOCK_MONOTONIC;
}

static uint32_t padding(void)
{
	return rarely() ? some(3) : 0;
}

static int fd(void)
{
	return rarely() ? (int)ONE_OF(-1, 99, dev, domain) : fds[some(FDS)];
}

/* Through which words meet: now and then a domain of this process's, if there is one. */
static int through(void)
{
	return some(3) ? dev : some(4) ? domain : fd();
}

/* Keeps a new descriptor in the place of another. */
static void keep(int new)
{
	if (new >= 0)
		close(atomic_exchange(&fds[some(FDS)], new));
}

static struct afutex_watch watch(void)
{
	uint32_t flags = word_flags() | how();

	return (struct afutex_watch) {
		.uaddr = address(), .mask = mask(), .flags = flags,
		.val = flags & AFUTEX_COMPARE || rarely() ? value() : 0,
		.cookie = rarely() ? some(9) : 0,
	};
}

static struct afutex_ctl control(void)
{
	uint32_t op = rarely() ? number() : 1 + some(3);
	struct afutex_ctl item = { .op = op, .id = some(6), .pad = padding() };

	if (op != AFUTEX_CTL_DEL || rarely())
		item.watch = watch();
	return item;
}

/* What a call returned is a result, or an errno that programs may see. */
static bool is_sane(long ret)
{
	return ret >= 0 || (ret == -1 && errno > 0 && errno < 512);
}

static long call(void)
{
	struct afutex_call args = {
		.uaddr = address(), .uaddr2 = address(), .pad = padding(),
		.op = some(16) | (some(2) ? FUTEX_PRIVATE_FLAG : 0) |
		      (rarely() ? FUTEX_CLOCK_REALTIME : 0),
		.val = value(), .val3 = some(2) ? mask() : state, .timeout = timeout(),
	};
	long ret;

	if (args.op % 16 == FUTEX_FD)
		args.val = signal_number();
	ret = ioctl(through(), AFUTEX_IOC_CALL, &args);
	if (args.op % 16 == FUTEX_FD)
		keep(ret);
	return ret;
}

static long make_fd(void)
{
	struct afutex_open open = {
		.watch = watch(), .signal = signal_number(),
		.fd_flags = rarely() ? some(1 << 20) : O_NONBLOCK,
	};
	struct afutex_set set = { .signal = open.signal, .fd_flags = open.fd_flags };
	struct afutex_domain_args args = {
		.buckets = rarely() ? number() : 1 << some(8), .reserved = padding(),
		.fd_flags = rarely() ? some(1 << 20) : O_CLOEXEC,
	};
	struct afutex_set_mapped mapped = {
		.signal = open.signal, .fd_flags = open.fd_flags, .pad = padding(),
		/* A page of them, mostly. */
		.members = rarely() ? number() : 1 << some(9),
	};
	long ret;

	switch (some(10)) {
	case 9:
		ret = ioctl(through(), AFUTEX_IOC_SET_MAPPED, &mapped);
		break;
	case 0:
		ret = ioctl(through(), AFUTEX_IOC_DOMAIN,
			    rarely() ? (void *)address() : &args);
		break;
	case 1: case 2: case 3: case 4:
		ret = ioctl(through(), AFUTEX_IOC_OPEN, &open);
		break;
	default:
		ret = ioctl(through(), AFUTEX_IOC_SET, &set);
	}
	keep(ret);
	return ret;
}

static long use_fd(void)
{
	struct afutex_ctl items[4] = { control(), control(), control(), control() };
	struct afutex_event events[4];
	/* All that is said to be there may be written to: none of our stack. */
	bool tame = !rarely();
	struct afutex_ctlv ctlv = {
		.items = tame ? addr_of(items) : address(), .nr = tame ? 4 : number(),
		.pad = padding(),
	};
	struct afutex_set_wait wait = {
		.items = ctlv.items, .nr_items = some(5), .pad = padding(), .timeout = timeout(),
		.events = some(2) ? address() : addr_of(events), .nr_events = some(5),
		.clockid = clock_id(),
	};
	struct afutex_rearm rearm = { .val = value(), .flags = how(), .pad = padding() };

	switch (some(5)) {
	case 0: case 1:	return ioctl(fd(), AFUTEX_IOC_CTL, &ctlv);
	case 2:		return ioctl(fd(), AFUTEX_IOC_SET_WAIT, &wait);
	case 3:		return ioctl(fd(), AFUTEX_IOC_REARM, &rearm);
	default:	return ioctl(fd(), AFUTEX_IOC_NEXT, value());
	}
}

static long wake(void)
{
	struct afutex_wakev_word words[3];
	struct afutex_wakev wakev = { .words = addr_of(words), .nr = some(4), .pad = padding() };
	struct afutex_wake wake = {
		.uaddr = address(), .mask = mask(), .count = number(), .flags = word_flags(),
	};

	for (int i = 0; i < 3; i++)
		words[i] = (struct afutex_wakev_word) {
			.uaddr = address(), .mask = mask(), .flags = word_flags(),
			.count = number(),
		};
	switch (some(5)) {
	case 0:		return ioctl(through(), AFUTEX_IOC_WAKE, &wake);
	case 1:		return ioctl(through(), AFUTEX_IOC_WAKEV,
				     rarely() ? (void *)address() : &wakev);
	case 2:		return ioctl(through(), AFUTEX_IOC_WAKE_ALL, address());
	case 3:		return ioctl(through(), AFUTEX_IOC_WAKE_ONE_PRIVATE, address());
	default:	return ioctl(through(), AFUTEX_IOC_WAKE_ONE, address());
	}
}

static long wait_or_move(void)
{
	struct afutex_wait wait = {
		.uaddr = address(), .val = value(), .mask = mask(), .flags = word_flags(),
		.clockid = clock_id(), .timeout = timeout(),
	};
	struct futex_waitv words[3];
	struct afutex_waitv waitv = {
		.waiters = rarely() ? address() : addr_of(words), .nr = some(5),
		.clockid = clock_id(), .timeout = timeout(),
	};
	struct afutex_requeue requeue = {
		.uaddr = address(), .uaddr2 = address(), .val = value(), .flags = word_flags(),
		.wake = number(), .requeue = number(), .pad = padding(),
	};

	for (int i = 0; i < 3; i++)
		words[i] = (struct futex_waitv) {
			.uaddr = address(), .val = value(), .flags = word_flags(),
			.__reserved = padding(),
		};
	switch (some(3)) {
	case 0:		return ioctl(through(), AFUTEX_IOC_WAIT, &wait);
	case 1:		return ioctl(through(), AFUTEX_IOC_WAITV, &waitv);
	default:	return ioctl(through(), AFUTEX_IOC_REQUEUE, &requeue);
	}
}

/* A command of any number, direction and size. */
static long ioctl_of_any_kind(void)
{
	return ioctl(some(2) ? dev : fd(),
		     _IOC(some(4), AFUTEX_IOC_MAGIC, some(32), rarely() ? some(1 << 14) : some(64)),
		     address());
}

static long read_fd(void)
{
	struct iovec parts[] = { { (void *)address(), some(40) }, { (void *)address(), some(99) } };

	return some(2) ? syscall(SYS_read, fd(), address(), rarely() ? number() : 8 << some(4)) :
			 readv(fd(), parts, some(3));
}

static long poll_fd(void)
{
	struct pollfd pfd = { .fd = fd(), .events = POLLIN };
	struct epoll_event ee = { .events = EPOLLIN | (some(2) ? EPOLLET : 0) };

	switch (some(4)) {
	case 0:
		keep(epoll_create1(0));
		return 0;
	case 1:		return epoll_ctl(fd(), 1 + some(3), fd(), &ee);
	case 2:		return epoll_wait(fd(), &ee, 1, 0);
	default:	return poll(&pfd, 1, some(2));
	}
}

static long change_fd(void)
{
	switch (some(6)) {
	case 0:		return fcntl(fd(), F_SETFL, ONE_OF(0, O_NONBLOCK, O_ASYNC,
							   O_ASYNC | O_NONBLOCK));
	case 1:		return fcntl(fd(), F_SETOWN, getpid());
	case 2:		return fcntl(fd(), F_SETSIG, signal_number());
	case 3:
		keep(dup(fd()));
		return 0;
	default:
		close(atomic_exchange(&fds[some(FDS)], -1));
		return 0;
	}
}

/* The bell of a domain, a ring, which is written to from there on, or what is neither. */
static long map_fd_at(char *page)
{
	void *map = mmap(NULL, rarely() ? 2 * PAGE : PAGE,
			  ONE_OF(PROT_READ, PROT_NONE, PROT_READ | PROT_WRITE),
			  rarely() ? MAP_PRIVATE : MAP_SHARED, some(3) ? fd() : domain,
			  rarely() ? PAGE : 0);

	if (map == MAP_FAILED)
		return -1;
	/* Moved there, so that there is no moment without a mapping. */
	if (mremap(map, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page) != MAP_FAILED)
		return 0;
	munmap(map, PAGE);
	return 0;
}

static long change_memory(void)
{
	char *page = (some(2) ? own : shared) + some(PAGES) * PAGE;

	switch (some(9)) {
	case 0:		return madvise(page, PAGE, MADV_DONTNEED);
	case 1:		return madvise(page, PAGE, MADV_PAGEOUT);
	case 2:		return mprotect(page, PAGE, ONE_OF(PROT_READ, PROT_WRITE, PROT_NONE,
							   PROT_READ | PROT_WRITE));
	case 3:
		/* As good as unmapped, and no other mapping is placed there. */
		mmap(page, PAGE, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return 0;
	case 4:
		mmap(page, PAGE, PROT_READ | PROT_WRITE,
		     MAP_FIXED | (some(2) ? MAP_SHARED : MAP_PRIVATE), memfd,
		     some(PAGES) * PAGE);
		return 0;
	case 5:
		mmap(page, PAGE, PROT_READ | PROT_WRITE,
		     MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return 0;
	case 6: case 7:
		return map_fd_at(page);
	default:	return fallocate(memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 some(PAGES) * PAGE, PAGE);
	}
}

static long store(void)
{
	uint64_t word = value();

	/* By a system call, for there may be nothing to store to. */
	return pread(memfd, (void *)address(), 4, some(PAGES) * PAGE) +
	       pwrite(memfd, &word, 4, some(PAGES) * PAGE + some(4) * 8);
}

static long have_a_child(void)
{
	if (some(8))
		return 0;
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < 20; i++)
			some(2) ? use_fd() : wake();
		_exit(0);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return 0;
}

static void *make_calls(void *arg)
{
	static long (*const calls[])(void) = {
		call, call, make_fd, use_fd, use_fd, use_fd, use_fd, wake, wake, wake,
		wait_or_move, ioctl_of_any_kind, read_fd, read_fd, poll_fd, change_fd,
		change_memory, store, have_a_child,
	};
	struct itimerspec often = { { 0, 5000000 }, { 0, 5000000 } };
	struct sigevent alarm = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM,
		._sigev_un._tid = syscall(SYS_gettid),
	};
	timer_t timer;

	state = (uintptr_t)arg;
	/* No call blocks for long. */
	timer_create(CLOCK_MONOTONIC, &alarm, &timer);
	timer_settime(timer, 0, &often, NULL);
	for (;;) {
		long (*one)(void) = calls[some(ARRAY_SIZE(calls))];

		errno = 0;
		if (!is_sane(one()) && one != store && one != have_a_child) {
			fprintf(stderr, "# errno %d\n", errno);
			_exit(1);
		}
	}
	return NULL;
}

static void interrupt(int sig)
{
}

/* Pages with nothing at either end, for some addresses are a little beyond. */
static char *map_pages(int flags, int file)
{
	char *all = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mmap(all + PAGE, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | flags, file, 0);
}

static void process(uint64_t seed)
{
	struct sigaction sa = { .sa_handler = interrupt };
	pthread_t thread;

	/* Whatever becomes of the test, this ends with it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	for (int sig = 1; sig < 65; sig++)
		signal(sig, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigaction(SIGALRM, &sa, NULL);
	own = map_pages(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int i = 0; i < FDS; i++)
		fds[i] = -1;
	for (int i = 1; i < THREADS; i++)
		pthread_create(&thread, NULL, make_calls, (void *)(seed + i));
	make_calls((void *)seed);
}

/*
 * Waits for two minutes at most: one that is killed may have to place the hooks of
 * futex(2) first, which takes long on the debug kernel.
 */
#define in_the_end(cond) ({						\
	bool __done = false;						\
	for (int __tries = 0; __tries < 12 && !__done; __tries++)	\
		__done = eventually(cond);				\
	__done; })

FIXTURE(fuzz) {};
FIXTURE_SETUP(fuzz) {}
FIXTURE_TEARDOWN(fuzz) {}

TEST_F_TIMEOUT(fuzz, whatever_is_asked, 900)
{
	const char *given = getenv("FUZZ_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 1;

	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	dev = afutex_open();
	ASSERT_GE(dev, 0);
	domain = new_domain(dev, 4);
	ASSERT_GE(domain, 0);
	memfd = memfd_create("words", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(memfd, PAGES * PAGE));
	shared = map_pages(MAP_SHARED, memfd);
	ASSERT_NE(MAP_FAILED, (void *)shared);

	for (int round = 0; round < rounds(40) + 5; round++) {
		pid_t pids[PROCESSES];

		for (int i = 0; i < PROCESSES; i++) {
			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			pids[i] = fork();
			ASSERT_GE(pids[i], 0);
			if (!pids[i])
				process(seed | 1);
			setpgid(pids[i], pids[i]);
		}
		sleep_ms(200);
		for (int i = 0; i < PROCESSES; i++) {
			int status = -1;
			pid_t gone = 0;

			/* With its children, which come to us. */
			kill(-pids[i], SIGKILL);
			/* Or by itself, where that was the signal that it asked for. */
			ASSERT_TRUE(in_the_end((gone = waitpid(pids[i], &status, WNOHANG)) != 0));
			ASSERT_EQ(pids[i], gone);
			ASSERT_EQ(SIGKILL, WIFSIGNALED(status) ? WTERMSIG(status) : 0) {
				TH_LOG("round %d: a call gave what is no errno, or wrote too much",
				       round);
			}
			ASSERT_TRUE(in_the_end(waitpid(-pids[i], NULL, WNOHANG) < 0));
		}
	}
	munmap(shared - PAGE, (PAGES + 2) * PAGE);
	close(memfd);
	close(domain);
	close(dev);
	EXPECT_IDLE();
}

TEST_HARNESS_MAIN
