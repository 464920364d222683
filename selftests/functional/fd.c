// SPDX-License-Identifier: GPL-2.0
/* The descriptors of FUTEX_FD: waiting for them, passing them on, looking at them. */
#ifdef __x86_64__
#include <liburing.h>
#endif
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/vfs.h>

#include "pass_fd.h"
#include "word_fixture.h"

WORD_FIXTURE(fd, int fd;);
WORD_VARIANTS(fd);

FIXTURE_SETUP(fd)
{
	WORD_SETUP();
	self->fd = do_fd(self->dev, self->word, variant->scope, 0);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(fd)
{
	close(self->fd);
	WORD_TEARDOWN();
}

#define WAKE()	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1))

TEST_F(fd, nothing_before_the_wake_readable_for_ever_after)
{
	EXPECT_EQ(0, poll_ms(self->fd, 20));
	WAKE();
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(READABLE, poll_ms(self->fd, 0));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
	EXPECT_EQ(READABLE, poll_ms(self->fd, 0));
}

TEST_F(fd, wake_ends_poll)
{
	WHILE_WAITING(EXPECT_EQ(READABLE, poll_ms(self->fd, 10000)));
}

TEST_F(fd, wake_ends_ppoll)
{
	struct pollfd pfd = { .fd = self->fd, .events = POLLIN };
	struct timespec ts = { 10, 0 };
	sigset_t none;

	sigemptyset(&none);
	WHILE_WAITING(EXPECT_EQ(1, ppoll(&pfd, 1, &ts, &none)));
	EXPECT_EQ(POLLIN, pfd.revents);
}

TEST_F(fd, wake_ends_select)
{
	struct timeval tv = { 10, 0 };
	fd_set in;

	FD_ZERO(&in);
	FD_SET(self->fd, &in);
	WHILE_WAITING(EXPECT_EQ(1, select(self->fd + 1, &in, NULL, NULL, &tv)));
	EXPECT_TRUE(FD_ISSET(self->fd, &in));
}

/* A poller for writing only is not woken. */
TEST_F(fd, not_writable)
{
	struct pollfd pfd = { .fd = self->fd, .events = POLLOUT };

	WAKE();
	EXPECT_EQ(0, poll(&pfd, 1, 20));
}

static int epoll_of(int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u64 = 0xfeed };
	int ep = epoll_create1(0);

	return ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) ? ep : -1;
}

TEST_F(fd, epoll_level)
{
	struct epoll_event ev;
	int ep = epoll_of(self->fd, EPOLLIN | EPOLLRDNORM);

	ASSERT_GE(ep, 0);
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	WHILE_WAITING(EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 10000)));
	EXPECT_EQ(EPOLLIN | EPOLLRDNORM, ev.events);
	EXPECT_EQ(0xfeed, ev.data.u64);
	EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 0));
	close(ep);
}

TEST_F(fd, epoll_edge)
{
	struct epoll_event ev;
	int ep = epoll_of(self->fd, EPOLLIN | EPOLLET);

	ASSERT_GE(ep, 0);
	WHILE_WAITING(EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 10000)));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 20));
	close(ep);
}

TEST_F(fd, epoll_oneshot)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT };
	int ep = epoll_of(self->fd, EPOLLIN | EPOLLONESHOT);

	ASSERT_GE(ep, 0);
	WAKE();
	EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 0));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	ev.events = EPOLLIN | EPOLLONESHOT;
	EXPECT_EQ(0, epoll_ctl(ep, EPOLL_CTL_MOD, self->fd, &ev));
	EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 0));
	close(ep);
}

/* Of two exclusive epolls, at least one reports it. */
TEST_F(fd, epoll_exclusive)
{
	int one = epoll_of(self->fd, EPOLLIN | EPOLLEXCLUSIVE);
	int two = epoll_of(self->fd, EPOLLIN | EPOLLEXCLUSIVE);
	struct epoll_event ev;

	ASSERT_GE(one, 0);
	ASSERT_GE(two, 0);
	WAKE();
	EXPECT_GE(epoll_wait(one, &ev, 1, 0) + epoll_wait(two, &ev, 1, 0), 1);
	close(one);
	close(two);
}

TEST_F(fd, epoll_in_epoll)
{
	struct epoll_event ev;
	int inner = epoll_of(self->fd, EPOLLIN), outer = epoll_of(inner, EPOLLIN);

	ASSERT_GE(outer, 0);
	WHILE_WAITING(EXPECT_EQ(1, epoll_wait(outer, &ev, 1, 10000)));
	EXPECT_EQ(1, epoll_wait(inner, &ev, 1, 0));
	close(outer);
	close(inner);
}

/* Closed while an epoll watches it: epoll lets go and reports nothing. */
TEST_F(fd, closed_under_epoll)
{
	struct epoll_event ev;
	int ep = epoll_of(self->fd, EPOLLIN);

	ASSERT_GE(ep, 0);
	close(self->fd);
	ASSERT_TRUE(counter_becomes("queued", 0));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	close(ep);
}

#ifdef __x86_64__
TEST_F(fd, io_uring_poll)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	io_uring_prep_poll_add(io_uring_get_sqe(&ring), self->fd, POLLIN);
	ASSERT_EQ(1, io_uring_submit(&ring));
	EXPECT_EQ(-EAGAIN, io_uring_peek_cqe(&ring, &cqe));
	WHILE_WAITING(EXPECT_EQ(0, io_uring_wait_cqe(&ring, &cqe)));
	EXPECT_EQ(POLLIN, cqe->res & POLLIN);
	io_uring_queue_exit(&ring);
}
#endif

TEST_F(fd, cannot_be_read_written_or_sought)
{
	char c;

	WAKE();
	EXPECT_EQ(-1, read(self->fd, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->fd, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(-1, ioctl(self->fd, AFUTEX_IOC_INFO, &c));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(fd, last_close_dequeues)
{
	int other = dup(self->fd);

	ASSERT_GE(other, 0);
	close(self->fd);
	sleep_ms(20);
	EXPECT_EQ(1, counter("queued"));
	close(other);
	EXPECT_TRUE(counter_becomes("queued", 0));
	EXPECT_TRUE(counter_becomes("pinned", 0));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
}

TEST_F(fd, dup_fires_too)
{
	int other = dup(self->fd);

	WAKE();
	EXPECT_EQ(READABLE, poll_ms(other, 0));
	EXPECT_EQ(READABLE, poll_ms(self->fd, 0));
	close(other);
}

TEST_F(fd, outlives_the_device)
{
	int dev = self->dev;

	self->dev = afutex_open();
	close(dev);
	WAKE();
	EXPECT_EQ(READABLE, poll_ms(self->fd, 0));
}

/* A child has it too, and sees it fire. */
TEST_F(fd, fork_shares_it)
{
	pid_t pid = fork();

	if (!pid)
		_exit(poll_ms(self->fd, 10000) != READABLE);
	WAKE();
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(READABLE, poll_ms(self->fd, 0));
}

/* FUTEX_FD never set close-on-exec: a program that is run has it. */
TEST_F(fd, exec_keeps_it)
{
	char path[32], link[64] = "";
	pid_t pid;

	EXPECT_EQ(0, fcntl(self->fd, F_GETFD));
	EXPECT_EQ(O_RDWR, fcntl(self->fd, F_GETFL) & ~0100000);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	ASSERT_GT(readlink(path, link, sizeof(link) - 1), 0);
	EXPECT_STREQ("futexfs:[futex]", link);

	pid = fork();
	if (!pid) {
		char script[128];

		snprintf(script, sizeof(script),
			 "test \"$(readlink %s)\" = 'futexfs:[futex]'", path);
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(99);
	}
	EXPECT_EQ(0, child_status(pid));
	/* The private word of the address space that exec replaced is gone, not this one. */
	WAKE();
}

/* A line of /proc/self/fdinfo/FD, without its name and the tab. */
static const char *fdinfo(int fd, const char *name)
{
	static char line[128];
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		return "";
	while (fgets(line, sizeof(line), f)) {
		size_t len = strlen(name);

		if (!strncmp(line, name, len) && line[len] == ':') {
			fclose(f);
			line[strcspn(line, "\n")] = 0;
			return line + len + 2;
		}
	}
	fclose(f);
	return "none";
}

TEST_F(fd, passes_over_a_unix_socket)
{
	int socks[2], fd;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	pid = fork();
	if (!pid) {
		close(self->fd);
		fd = receive_fd(socks[1]);
		_exit(poll_ms(fd, 10000) != READABLE);
	}
	EXPECT_EQ(0, send_fd(socks[0], self->fd));
	close(self->fd);
	sleep_ms(20);
	WAKE();
	EXPECT_EQ(0, child_status(pid));
	close(socks[0]);
	close(socks[1]);
}

/* Alive only in a socket's queue: still a waiter; dropped with the socket. */
TEST_F(fd, in_flight_is_armed)
{
	int socks[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	EXPECT_EQ(0, send_fd(socks[0], self->fd));
	close(self->fd);
	sleep_ms(20);
	EXPECT_EQ(1, counter("queued"));
	close(socks[0]);
	close(socks[1]);
	EXPECT_TRUE(counter_becomes("queued", 0));
}

/* How a word is known, as fdinfo has it. */
static const char *key_kind(int scope, enum memory memory)
{
	if (scope == PRIVATE)
		return "private";
	return memory == ANON_PRIVATE ? "mm" : "page";
}

TEST_F(fd, fdinfo_shows_the_word)
{
	char addr[32];
	int fd;

	snprintf(addr, sizeof(addr), "0x%lx", (unsigned long)self->word);
	EXPECT_STREQ(key_kind(variant->scope, variant->memory), fdinfo(self->fd, "afutex-kind"));
	EXPECT_STREQ("armed", fdinfo(self->fd, "afutex-state"));
	EXPECT_STREQ("0", fdinfo(self->fd, "afutex-signal"));
	EXPECT_STREQ(addr, fdinfo(self->fd, "afutex-uaddr"));
	EXPECT_STREQ("none", fdinfo(self->fd, "afutex-offset"));
	WAKE();
	EXPECT_STREQ("fired", fdinfo(self->fd, "afutex-state"));

	fd = do_fd(self->dev, self->word + 5, variant->scope, SIGRTMIN);
	snprintf(addr, sizeof(addr), "%d", SIGRTMIN);
	EXPECT_STREQ(addr, fdinfo(fd, "afutex-signal"));
	close(fd);
}

/* Another user that has the descriptor does not learn the opener's addresses. */
TEST_F(fd, fdinfo_hides_addresses_from_strangers)
{
	int fd = do_fd(self->dev, self->word + 5, variant->scope, 0);
	pid_t pid = fork();

	ASSERT_GE(fd, 0);
	if (!pid) {
		if (setresuid(12345, 12345, 12345))
			_exit(1);
		if (strcmp(fdinfo(fd, "afutex-uaddr"), "none"))
			_exit(2);
		if (strcmp(fdinfo(fd, "afutex-offset"), "0x14"))
			_exit(3);
		_exit(strcmp(fdinfo(fd, "afutex-kind"),
			     key_kind(variant->scope, variant->memory)) ? 4 : 0);
	}
	EXPECT_EQ(0, child_status(pid));
	close(fd);
}

TEST_F(fd, statfs_tells_the_magic)
{
	struct statfs st;

	ASSERT_EQ(0, fstatfs(self->fd, &st));
	EXPECT_EQ(AFUTEX_FS_MAGIC, st.f_type);
}

/* The filesystem's own nodes cannot be opened anew. */
TEST_F(fd, cannot_be_reopened)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	EXPECT_EQ(-1, open(path, O_RDONLY));
	EXPECT_EQ(ENXIO, errno);
}

TEST_F(fd, no_descriptor_left_is_EMFILE)
{
	struct rlimit limit, few;
	long queued = counter("queued");

	getrlimit(RLIMIT_NOFILE, &limit);
	few = (struct rlimit) { self->fd + 1, limit.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
	EXPECT_EQ(-1, do_fd(self->dev, self->word, variant->scope, 0));
	EXPECT_EQ(EMFILE, errno);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(queued, counter("queued"));
	EXPECT_EQ(1, counter("fds"));
}

/* The limit of open files of the whole system, for users without privilege. */
TEST_F(fd, no_file_left_is_ENFILE)
{
	char old[32] = "";
	int f = open("/proc/sys/fs/file-max", O_RDWR), status;
	pid_t pid;

	ASSERT_GE(f, 0);
	ASSERT_GT(read(f, old, sizeof(old) - 1), 0);
	/* The kernel counts approximately below the limit: 0 is always reached. */
	ASSERT_EQ(1, pwrite(f, "0", 1, 0));
	pid = fork();
	if (!pid) {
		if (setresuid(12345, 12345, 12345))
			_exit(1);
		if (do_fd(self->dev, self->word, variant->scope, 0) != -1)
			_exit(2);
		_exit(errno == ENFILE ? 0 : 3);
	}
	status = child_status(pid);
	ASSERT_EQ(strlen(old), pwrite(f, old, strlen(old), 0));
	close(f);
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, counter("queued"));
}

TEST_HARNESS_MAIN
