// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation fails once: each call returns an error or succeeds, and leaves
 * nothing behind in either case. Needs a kernel with CONFIG_FAILSLAB.
 */
#include "word_fixture.h"
#include "native.h"

WORD_FIXTURE(fault, int fail_nth;);
WORD_VARIANTS(fault);

FIXTURE_SETUP(fault)
{
	WORD_SETUP();
	/* Touched, so that no allocation of the page fails. */
	*self->word = 0;
	self->fail_nth = open("/proc/self/fail-nth", O_RDWR);
	if (self->fail_nth < 0)
		SKIP(return, "needs CONFIG_FAULT_INJECTION: run make check-debug");
	write_string("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	write_string("/sys/kernel/debug/failslab/verbose", "0");
}

FIXTURE_TEARDOWN(fault)
{
	close(self->fail_nth);
	WORD_TEARDOWN();
}

/* Makes the nth allocation from here on fail. */
static void fail(int file, int n)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%d", n);
	if (pwrite(file, buf, strlen(buf), 0) < 0)
		perror("fail-nth");
}

/* Whether that failure is still to come. */
static bool failure_left(int file)
{
	char buf[16] = "";

	return pread(file, buf, sizeof(buf) - 1, 0) > 0 && atoi(buf) > 0;
}

/*
 * Runs call with its first, second, ... allocation failing until none is left to
 * fail, and check after each. At least one failed, or nothing was tested.
 */
#define EACH_FAILURE(call, check) do {						\
	int __n, __failed = 0;							\
	for (__n = 1; __n < 200; __n++) {					\
		bool __left;							\
		fail(self->fail_nth, __n);					\
		int ret = (call), err = errno;					\
		__left = failure_left(self->fail_nth);				\
		fail(self->fail_nth, 0);					\
		if (ret < 0) {							\
			EXPECT_EQ(ENOMEM, err);					\
			__failed++;						\
		}								\
		check;								\
		if (__left)							\
			break;							\
	}									\
	EXPECT_LT(__n, 200);							\
	EXPECT_GT(__failed, 0);							\
} while (0)

TEST_F(fault, open_device)
{
	EACH_FAILURE(afutex_open(), if (ret >= 0) close(ret));
}

TEST_F(fault, futex_fd)
{
	EACH_FAILURE(do_fd(self->dev, self->word, variant->scope, 0), ({
		if (ret >= 0) {
			EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
			EXPECT_EQ(READABLE, poll_ms(ret, 0));
			close(ret);
		}
		EXPECT_EQ(0, counter("queued"));
		EXPECT_EQ(0, counter("pinned"));
	}));
}

TEST_F(fault, futex_fd_with_signal)
{
	EACH_FAILURE(do_fd(self->dev, self->word, variant->scope, SIGURG), ({
		if (ret >= 0)
			close(ret);
		EXPECT_TRUE(counter_becomes("queued", 0));
		EXPECT_EQ(0, counter("pinned"));
	}));
}

static int wait_briefly(int dev, word_t *word, int scope)
{
	int ret = do_wait_ms(dev, word, scope, 0, 1);

	return ret < 0 && errno == ETIMEDOUT ? 0 : ret;
}

/* A wait allocates nothing, but for the pin of a page that others may share. */
TEST_F(fault, futex_wait)
{
	if (variant->memory != MEMFD) {
		fail(self->fail_nth, 1);
		EXPECT_EQ(0, wait_briefly(self->dev, self->word, variant->scope));
		EXPECT_TRUE(failure_left(self->fail_nth));
		fail(self->fail_nth, 0);
		return;
	}
	EACH_FAILURE(wait_briefly(self->dev, self->word, variant->scope), ({
		EXPECT_EQ(0, counter("queued"));
		EXPECT_EQ(0, counter("pinned"));
	}));
}

static int open_watch(int dev, word_t *word, uint32_t flags)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(word), .mask = 1, .flags = flags },
	};

	return ioctl(dev, AFUTEX_IOC_OPEN, &args);
}

TEST_F(fault, watch)
{
	uint32_t flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0);

	EACH_FAILURE(open_watch(self->dev, self->word, flags), ({
		if (ret >= 0) {
			EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
			/* The key is used again. */
			EXPECT_EQ(1, ioctl(ret, AFUTEX_IOC_NEXT, 0));
			close(ret);
		}
		EXPECT_TRUE(counter_becomes("queued", 0));
		EXPECT_EQ(0, counter("pinned"));
	}));
}

/* 0, or -1 with errno, as a call. */
static int add_member(int set, word_t *word, uint32_t flags)
{
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = addr_of(word), .mask = 1, .flags = flags },
	};
	struct afutex_ctlv args = { .items = addr_of(&item), .nr = 1 };

	if (ioctl(set, AFUTEX_IOC_CTL, &args) != 1)
		return -1;
	errno = -item.result;
	return item.result ? -1 : 0;
}

TEST_F(fault, member_of_a_set)
{
	uint32_t flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0);
	struct afutex_set args = { .fd_flags = O_NONBLOCK };
	int set = ioctl(self->dev, AFUTEX_IOC_SET, &args), added = 0;

	ASSERT_GE(set, 0);
	EACH_FAILURE(add_member(set, self->word, flags), ({
		added += !ret;
		EXPECT_EQ(added, counter("queued"));
	}));
	EXPECT_EQ(added, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	close(set);
	EACH_FAILURE(ioctl(self->dev, AFUTEX_IOC_SET, &args), if (ret >= 0) close(ret));
}

/* A wake allocates nothing. */
TEST_F(fault, futex_wake)
{
	int fd = do_fd(self->dev, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	fail(self->fail_nth, 1);
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	EXPECT_TRUE(failure_left(self->fail_nth));
	fail(self->fail_nth, 0);
	close(fd);
}

struct other_wakes {
	word_t *word, *other;
	int scope;
};

static void *wake_op(void *arg)
{
	struct other_wakes *wakes = arg;

	return (void *)futex(wakes->other, FUTEX_WAKE_OP | wakes->scope, 1, 1, wakes->word,
			     FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0));
}

/*
 * A task that has no shadow stack, on which the kernel keeps what is to be called at
 * the end of a function: the end of its FUTEX_WAKE_OP is not seen, and yet not missed.
 */
TEST_F(fault, task_without_a_shadow_stack)
{
	struct other_wakes wakes = { self->word, self->word + 1, variant->scope };
	int fd = native_watch(self->dev, self->word, variant->scope, AFUTEX_COMPARE, 0);
	long unknown = counter("native_unknown");
	pthread_t thread;
	void *ret;
	bool left;

	ASSERT_GE(fd, 0);
	/* The hooks have made the cache that they are from. No other allocation fails. */
	ASSERT_EQ(0, access("/sys/kernel/slab/fgraph_stack/failslab", W_OK));
	write_string("/sys/kernel/slab/fgraph_stack/failslab", "1");
	write_string("/sys/kernel/debug/failslab/cache-filter", "Y");
	fail(self->fail_nth, 1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_op, &wakes));
	left = failure_left(self->fail_nth);
	fail(self->fail_nth, 0);
	write_string("/sys/kernel/debug/failslab/cache-filter", "N");
	ASSERT_FALSE(left);
	pthread_join(thread, &ret);
	EXPECT_EQ(0, (long)ret);
	EXPECT_EQ(1, *self->word);
	EXPECT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	EXPECT_GT(counter("native_unknown"), unknown);
	close(fd);
}

TEST_HARNESS_MAIN
