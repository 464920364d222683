// SPDX-License-Identifier: GPL-2.0
/*
 * Memory whose faults user space answers, late or never: a task that is stuck in one
 * can be killed, and holds up no other.
 */
#include <linux/userfaultfd.h>

#include "memory.h"

FIXTURE(userfault)
{
	int dev, uffd;
	char *map;
	word_t *word;
};

FIXTURE_VARIANT(userfault)
{
	int scope;
	int op;
};

FIXTURE_VARIANT_ADD(userfault, wait_private) { PRIVATE, FUTEX_WAIT };
FIXTURE_VARIANT_ADD(userfault, wait_shared) { SHARED, FUTEX_WAIT };
FIXTURE_VARIANT_ADD(userfault, wake_shared) { SHARED, FUTEX_WAKE };
FIXTURE_VARIANT_ADD(userfault, fd_private) { PRIVATE, FUTEX_FD };
FIXTURE_VARIANT_ADD(userfault, fd_shared) { SHARED, FUTEX_FD };

/* Maps a page whose first fault goes to the returned userfaultfd. */
static int map_with_faults(char **map)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	*map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = addr_of(*map);
	reg.range.len = 4096;
	if (*map == MAP_FAILED || uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg))
		return -1;
	return uffd;
}

FIXTURE_SETUP(userfault)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->uffd = map_with_faults(&self->map);
	ASSERT_GE(self->uffd, 0);
	self->word = (word_t *)self->map;
}

FIXTURE_TEARDOWN(userfault)
{
	close(self->uffd);
	close(self->dev);
	EXPECT_IDLE();
}

/* Waits at the first word of a page, so that wakes at that offset look at their page. */
static int wait_at_offset(int dev, int scope)
{
	word_t *other = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);

	return do_fd(dev, other, scope, 0);
}

struct stuck {
	int dev, op, ret, err;
	word_t *word;
	_Atomic bool done;
};

static void *call_it(void *arg)
{
	struct stuck *s = arg;

	s->ret = afutex_call(s->dev, s->word, s->op, s->op & FUTEX_CMD_MASK & FUTEX_WAKE, NULL);
	s->err = errno;
	s->done = true;
	return NULL;
}

/* While one is stuck in the fault, others wait, wake and arm in the same table. */
TEST_F(userfault, holds_up_nobody)
{
	struct stuck s = {
		.dev = self->dev, .op = variant->op | variant->scope, .word = self->word,
	};
	struct uffdio_zeropage zero = { .range = { addr_of(self->map), 4096 } };
	struct uffd_msg msg;
	pthread_t thread;
	word_t other[64] = { 0 };
	int waiter = wait_at_offset(self->dev, variant->scope);

	ASSERT_GE(waiter, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, call_it, &s));
	ASSERT_EQ(POLLIN, poll_ms(self->uffd, 10000) & POLLIN);
	ASSERT_EQ(sizeof(msg), read(self->uffd, &msg, sizeof(msg)));
	EXPECT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);

	for (int i = 0; i < 64; i++) {
		int fd = do_fd(self->dev, &other[i], PRIVATE, 0);

		ASSERT_GE(fd, 0);
		EXPECT_EQ(1, do_wake(self->dev, &other[i], PRIVATE, 1));
		close(fd);
	}
	EXPECT_FALSE(s.done);

	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_ZEROPAGE, &zero));
	if (variant->op == FUTEX_WAIT) {
		EXPECT_TRUE(eventually(do_wake(self->dev, self->word, variant->scope, 1) == 1));
	}
	pthread_join(thread, NULL);
	EXPECT_GE(s.ret, 0);
	if (variant->op == FUTEX_FD)
		close(s.ret);
	close(waiter);
}

TEST_F(userfault, stuck_process_can_be_killed)
{
	int pipe_fds[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(pipe_fds));
	pid = fork();
	if (!pid) {
		struct stuck s = { .dev = self->dev, .op = variant->op | variant->scope };
		pthread_t thread;
		char *map;
		int uffd = map_with_faults(&map);

		s.word = (word_t *)map;
		wait_at_offset(self->dev, variant->scope);
		if (uffd < 0 || pthread_create(&thread, NULL, call_it, &s))
			_exit(1);
		if (!(poll_ms(uffd, 10000) & POLLIN) || write(pipe_fds[1], "", 1) != 1)
			_exit(2);
		pthread_join(thread, NULL);
		_exit(3);
	}
	ASSERT_EQ(1, read(pipe_fds[0], &c, 1));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, child_status(pid));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

TEST_HARNESS_MAIN
