// SPDX-License-Identifier: GPL-2.0
/*
 * Which words are the same futex: a word is what it is, wherever it is mapped and
 * whatever happens to the memory around it.
 */
#include "memory.h"
#include "pass_fd.h"

FIXTURE(key)
{
	int dev, file;
	size_t size;
	char *map;
	word_t *word;
};

FIXTURE_VARIANT(key)
{
	enum memory memory;
	/* Whether the module has to pin the page to know the word. */
	bool pins;
};

FIXTURE_VARIANT_ADD(key, anonymous) { ANON_PRIVATE, false };
FIXTURE_VARIANT_ADD(key, shared_anonymous) { ANON_SHARED, true };
FIXTURE_VARIANT_ADD(key, memfd) { MEMFD, true };
FIXTURE_VARIANT_ADD(key, tmpfs) { TMPFS, true };
FIXTURE_VARIANT_ADD(key, ext4) { EXT4, true };
FIXTURE_VARIANT_ADD(key, huge_anonymous) { THP, false };
FIXTURE_VARIANT_ADD(key, huge_memfd) { SHMEM_THP, true };
FIXTURE_VARIANT_ADD(key, hugetlb) { HUGETLB, false };
FIXTURE_VARIANT_ADD(key, hugetlb_shared) { HUGETLB_SHARED, true };

FIXTURE_SETUP(key)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->size = memory_size(variant->memory);
	self->map = memory_map(variant->memory, &self->file);
	ASSERT_TRUE(self->map != NULL);
	self->word = (word_t *)(self->map + self->size / 2 + 8);
}

FIXTURE_TEARDOWN(key)
{
	munmap(self->map, self->size);
	close(self->file);
	close(self->dev);
	write_string("/proc/sys/vm/nr_hugepages", "0");
	EXPECT_IDLE();
}

/* Memory that was never touched: arm, then store, then wake. */
TEST_F(key, untouched_memory)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(variant->pins, counter("pinned"));
	*self->word = 1;
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ(0, counter("pinned"));
	close(fd);
}

TEST_F(key, untouched_memory_sleeper)
{
	struct sleeper s = { .dev = self->dev, .scope = SHARED, .word = self->word };

	ASSERT_EQ(0, sleeper_start(&s));
	*self->word = 1;
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	sleeper_join(&s);
	EXPECT_EQ(0, s.ret);
}

TEST_F(key, untouched_memory_private_flag)
{
	int fd = do_fd(self->dev, self->word, PRIVATE, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, counter("pinned"));
	*self->word = 1;
	EXPECT_EQ(1, do_wake(self->dev, self->word, PRIVATE, 1));
	close(fd);
}

/* The same page offset in every page of a huge page is a word of its own. */
TEST_F(key, words_in_different_pages_of_one_mapping_are_apart)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);
	size_t step = self->size > 4096 ? 4096 : 64;

	ASSERT_GE(fd, 0);
	for (size_t at = 8; at < self->size; at += step) {
		word_t *other = (word_t *)(self->map + at);

		if (other != self->word)
			EXPECT_EQ(0, do_wake(self->dev, other, SHARED, INT32_MAX));
	}
	EXPECT_EQ(0, poll_ms(fd, 0));
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, INT32_MAX));
	close(fd);
}

/* A watcher needs no write access, and nor does a waker. */
/* A file that was opened for reading only can be watched. */
/* What is shared stays one word over fork, what is private becomes two. */
TEST_F(key, fork_after_arming)
{
	bool one_word = !memory_is_private(variant->memory);
	int fd = do_fd(self->dev, self->word, SHARED, 0);
	pid_t pid;

	ASSERT_GE(fd, 0);
	pid = fork();
	if (!pid) {
		*self->word = 1;
		_exit(do_wake(self->dev, self->word, SHARED, 1));
	}
	EXPECT_EQ(one_word, child_status(pid));
	EXPECT_EQ(one_word ? READABLE : 0, poll_ms(fd, 0));
	close(fd);
}

/* The copy on write that a fork makes necessary leaves the word with the armer. */
TEST_F(key, parent_stores_after_fork)
{
	bool one_word = !memory_is_private(variant->memory);
	int fd, pipe_fds[2];
	pid_t pid;
	char c;

	*self->word = 0;
	ASSERT_EQ(0, pipe(pipe_fds));
	fd = do_fd(self->dev, self->word, SHARED, 0);
	ASSERT_GE(fd, 0);
	pid = fork();
	if (!pid) {
		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &c, 1));
	}
	*self->word = 2;
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(fd);
	close(pipe_fds[1]);
	EXPECT_EQ(0, child_status(pid));
	close(pipe_fds[0]);

	/* And the other way: forked first, armed by the child, woken by the parent. */
	pid = fork();
	if (!pid) {
		fd = do_fd(self->dev, self->word, SHARED, 0);
		*self->word = 3;
		_exit(poll_ms(fd, 20000) != READABLE);
	}
	ASSERT_TRUE(counter_becomes("queued", 1));
	EXPECT_EQ(one_word, do_wake(self->dev, self->word, SHARED, 1));
	if (!one_word)
		kill(pid, SIGKILL);
	EXPECT_EQ(one_word ? 0 : 128 + SIGKILL, child_status(pid));
}

TEST_F(key, moved_mapping)
{
	size_t offset = (char *)self->word - self->map;
	char *moved;
	int fd;

	*self->word = 0;
	fd = do_fd(self->dev, self->word, SHARED, 0);
	ASSERT_GE(fd, 0);
	moved = mmap(NULL, self->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	moved = mremap(self->map, self->size, self->size, MREMAP_MAYMOVE | MREMAP_FIXED, moved);
	ASSERT_TRUE(moved != MAP_FAILED);
	/* Anonymous memory is known by its address, as in futex(2). */
	EXPECT_EQ(variant->pins, do_wake(self->dev, (word_t *)(moved + offset), SHARED, 1));
	close(fd);
	munmap(moved, self->size);
	self->map = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	self->size = 4096;
}

TEST_F(key, paged_out_memory)
{
	int fd;

	*self->word = 0;
	fd = do_fd(self->dev, self->word, SHARED, 0);
	ASSERT_GE(fd, 0);
	/* hugetlb memory is never paged out. */
	if (madvise(self->map, self->size, MADV_PAGEOUT)) {
		EXPECT_EQ(EINVAL, errno);
		EXPECT_TRUE(variant->memory == HUGETLB || variant->memory == HUGETLB_SHARED);
	}
	*self->word = 1;
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(fd);
}

/* Memory that was given back and is new: the same word where futex(2) says so. */
TEST_F(key, discarded_memory)
{
	int fd;

	*self->word = 1;
	fd = do_fd(self->dev, self->word, SHARED, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, madvise(self->map, self->size, MADV_DONTNEED));
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(fd);
}

TEST_F(key, unmapped_after_arming)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);
	char *map = self->map;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, munmap(map, self->size));
	self->map = mmap(map, self->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_EQ(-1, do_wake(self->dev, self->word, SHARED, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, poll_ms(fd, 0));
	EXPECT_EQ(variant->pins, counter("pinned"));
	close(fd);
}

TEST_F(key, no_access_is_EFAULT)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	word_t *other = (word_t *)(page + addr_of(self->word) % 4096);
	int fd;

	*self->word = 0;
	ASSERT_EQ(0, mprotect(self->map, self->size, PROT_NONE));
	EXPECT_EQ(-1, do_fd(self->dev, self->word, SHARED, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, do_wait(self->dev, self->word, SHARED, 0));
	EXPECT_EQ(EFAULT, errno);
	/* A wake looks at the page if there is a waiter at that offset of any page. */
	EXPECT_EQ(0, do_wake(self->dev, self->word, SHARED, 1));
	fd = do_fd(self->dev, other, SHARED, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, do_wake(self->dev, self->word, SHARED, 1));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
	munmap(page, 4096);
}

/* Memory that a file names, and that can be mapped a second time. */
FIXTURE(file)
{
	int dev, file;
	size_t size;
	char *map;
	word_t *word;
};

FIXTURE_VARIANT(file)
{
	enum memory memory;
};

FIXTURE_VARIANT_ADD(file, memfd) { MEMFD };
FIXTURE_VARIANT_ADD(file, tmpfs) { TMPFS };
FIXTURE_VARIANT_ADD(file, ext4) { EXT4 };
FIXTURE_VARIANT_ADD(file, huge_memfd) { SHMEM_THP };
FIXTURE_VARIANT_ADD(file, hugetlb) { HUGETLB_SHARED };

FIXTURE_SETUP(file)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->size = memory_size(variant->memory);
	self->map = memory_map(variant->memory, &self->file);
	ASSERT_TRUE(self->map != NULL);
	self->word = (word_t *)(self->map + self->size / 2 + 8);
}

FIXTURE_TEARDOWN(file)
{
	munmap(self->map, self->size);
	close(self->file);
	close(self->dev);
	write_string("/proc/sys/vm/nr_hugepages", "0");
	EXPECT_IDLE();
}

static word_t *remap(int file, size_t size, int prot, word_t *word, char *map)
{
	char *other = mmap(NULL, size, prot, MAP_SHARED, file, 0);

	return other == MAP_FAILED ? NULL : (word_t *)(other + ((char *)word - map));
}

TEST_F(file, two_mappings_are_one_word)
{
	word_t *other;
	int fd;

	other = remap(self->file, self->size, PROT_READ | PROT_WRITE, self->word, self->map);
	ASSERT_TRUE(other != NULL);
	EXPECT_TRUE(other != self->word);
	fd = do_fd(self->dev, self->word, SHARED, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, do_wake(self->dev, other, SHARED, 1));
	close(fd);
	/* With the private flag the address counts, and they are two. */
	fd = do_fd(self->dev, self->word, PRIVATE, 0);
	EXPECT_EQ(0, do_wake(self->dev, other, PRIVATE, 1));
	close(fd);
}

TEST_F(file, read_only_watcher)
{
	word_t *other;
	int fd;

	other = remap(self->file, self->size, PROT_READ, self->word, self->map);
	ASSERT_TRUE(other != NULL);
	fd = do_fd(self->dev, other, SHARED, 0);
	ASSERT_GE(fd, 0);
	*self->word = 1;
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(fd);

	fd = do_fd(self->dev, self->word, SHARED, 0);
	EXPECT_EQ(1, do_wake(self->dev, other, SHARED, 1));
	close(fd);
}

TEST_F(file, read_only_file)
{
	char path[64];
	word_t *other;
	int file, fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->file);
	file = open(path, O_RDONLY);
	ASSERT_GE(file, 0);
	other = remap(file, self->size, PROT_READ, self->word, self->map);
	ASSERT_TRUE(other != NULL);
	fd = do_fd(self->dev, other, SHARED, 0);
	ASSERT_GE(fd, 0);
	*self->word = 1;
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(fd);
	close(file);
}

TEST_F(file, two_processes_at_different_addresses)
{
	pid_t pid;

	pid = fork();
	if (!pid) {
		word_t *other = remap(self->file, self->size, PROT_READ, self->word, self->map);

		if (!other || munmap(self->map, self->size))
			_exit(99);
		_exit(do_wait(self->dev, other, SHARED, 0) ? errno : 0);
	}
	ASSERT_TRUE(counter_becomes("queued", 1));
	*self->word = 1;
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(file, truncated_file)
{
	int fd;

	fd = do_fd(self->dev, self->word, SHARED, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(self->file, 0));
	EXPECT_EQ(-1, do_wake(self->dev, self->word, SHARED, 1));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, ftruncate(self->file, self->size));
	EXPECT_EQ(0, do_wake(self->dev, self->word, SHARED, 1));
	EXPECT_EQ(0, poll_ms(fd, 0));
	close(fd);
}

FIXTURE(special)
{
	int dev;
};

FIXTURE_SETUP(special)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
}

FIXTURE_TEARDOWN(special)
{
	close(self->dev);
	EXPECT_IDLE();
}

/* PROT_WRITE alone: a read-only pin is refused, and the word can be read. */
TEST_F(special, write_only_mapping)
{
	word_t *word = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd;

	ASSERT_TRUE(word != MAP_FAILED);
	fd = do_fd(self->dev, word, SHARED, 0);
	ASSERT_GE(fd, 0);
	*word = 1;
	EXPECT_EQ(1, do_wake(self->dev, word, SHARED, 1));
	close(fd);
}

/*
 * A private mapping of a file is the armer's own memory: it has a page of its own
 * from the moment it is armed.
 */
TEST_F(special, private_mapping_of_a_file)
{
	int file, fd;
	word_t *mine, *files;

	files = memory_map(MEMFD, &file);
	ASSERT_TRUE(files != NULL);
	*files = 7;
	mine = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ASSERT_TRUE(mine != MAP_FAILED);
	EXPECT_EQ(7, *mine);
	fd = do_fd(self->dev, mine, SHARED, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, do_wake(self->dev, files, SHARED, 1));
	*mine = 8;
	EXPECT_EQ(7, *files);
	EXPECT_EQ(1, do_wake(self->dev, mine, SHARED, 1));
	close(fd);
	close(file);
}

/* Documented: a pinned page keeps a memfd from being sealed against writing. */
TEST_F(special, sealing_waits_for_the_pin)
{
	int file, fd;
	word_t *word = memory_map(MEMFD, &file);

	ASSERT_TRUE(word != NULL);
	fd = do_fd(self->dev, word, SHARED, 0);
	ASSERT_GE(fd, 0);
	munmap(word, 4096);
	EXPECT_EQ(-1, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	close(fd);
	ASSERT_TRUE(counter_becomes("pinned", 0));
	EXPECT_TRUE(eventually(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE) == 0));
	close(file);
}

/* A read-only mapping of anonymous memory: futex(2) refuses it, we do not. */
TEST_F(special, read_only_anonymous_memory)
{
	word_t *word = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd;

	ASSERT_TRUE(word != MAP_FAILED);
	fd = do_fd(self->dev, word, SHARED, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, mprotect(word, 4096, PROT_READ | PROT_WRITE));
	*word = 1;
	EXPECT_EQ(1, do_wake(self->dev, word, SHARED, 1));
	close(fd);
}

/* An mm that is gone must not match a new one at its address. */
TEST_F(special, recycled_address_spaces)
{
	word_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fds[2], fd;
	pid_t pid;

	ASSERT_TRUE(word != MAP_FAILED);
	/* A child arms, hands us the descriptor, and is gone. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	pid = fork();
	if (!pid) {
		fd = do_fd(self->dev, word, PRIVATE, 0);
		_exit(send_fd(fds[0], fd) != 0);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(1, counter("queued"));
	for (int i = 0; i < rounds(200); i++) {
		pid = fork();
		if (!pid)
			_exit(do_wake(self->dev, word, PRIVATE, INT32_MAX));
		ASSERT_EQ(0, child_status(pid));
	}
	EXPECT_EQ(1, counter("queued"));
	close(fds[0]);
	close(fds[1]);
}

/* Waiters pin under RLIMIT_MEMLOCK; over it is an error that leaves nothing. */
TEST_F(special, memlock_limit)
{
	struct rlimit limit = { 3 * 4096, 3 * 4096 };
	int file = memfd_create("words", 0), fds[4], status;
	pid_t pid;

	ASSERT_EQ(0, ftruncate(file, 4 * 4096));
	pid = fork();
	if (!pid) {
		char *map = mmap(NULL, 4 * 4096, PROT_READ, MAP_SHARED, file, 0);

		if (map == MAP_FAILED || setrlimit(RLIMIT_MEMLOCK, &limit) ||
		    setresuid(12345, 12345, 12345))
			_exit(1);
		for (int i = 0; i < 3; i++) {
			fds[i] = do_fd(self->dev, (word_t *)(map + i * 4096), SHARED, 0);
			if (fds[i] < 0)
				_exit(2);
		}
		if (do_fd(self->dev, (word_t *)(map + 3 * 4096), SHARED, 0) != -1 ||
		    errno != ENOMEM)
			_exit(3);
		if (do_wait(self->dev, (word_t *)(map + 3 * 4096), SHARED, 0) != -1 ||
		    errno != ENOMEM)
			_exit(4);
		/* Private words pin nothing. */
		if (do_fd(self->dev, (word_t *)(map + 3 * 4096), PRIVATE, 0) < 0)
			_exit(5);
		/* Once one is given back there is room for another. */
		close(fds[0]);
		sleep_ms(20);
		for (int i = 0; i < 100; i++) {
			fds[3] = do_fd(self->dev, (word_t *)(map + 3 * 4096), SHARED, 0);
			if (fds[3] >= 0)
				break;
			sleep_ms(10);
		}
		_exit(fds[3] >= 0 ? 0 : 6);
	}
	status = child_status(pid);
	EXPECT_EQ(0, status);
	close(file);
}

TEST_HARNESS_MAIN
