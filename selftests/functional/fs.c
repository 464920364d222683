// SPDX-License-Identifier: GPL-2.0
/* futexfs, and what keeps the module loaded. To be run as root, in a guest. */
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "memory.h"

static int unload(void)
{
	return syscall(SYS_delete_module, "afutex", O_NONBLOCK) ? errno : 0;
}

static int load(void)
{
	int fd = open("/afutex.ko", O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? errno : 0;
	close(fd);
	return ret;
}

/* Delayed fput work may take a moment. */
static bool unloads(void)
{
	return eventually(unload() == 0);
}

FIXTURE(fs)
{
	int dev;
	word_t *word;
};

FIXTURE_SETUP(fs)
{
	int file;

	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->word = memory_map(MEMFD, &file);
	ASSERT_TRUE(self->word != NULL);
	close(file);
}

FIXTURE_TEARDOWN(fs)
{
	if (access("/dev/afutex", F_OK)) {
		EXPECT_EQ(0, load());
	}
	EXPECT_IDLE();
}

TEST_F(fs, listed_as_without_device)
{
	char line[64];
	bool found = false;
	FILE *f = fopen("/proc/filesystems", "r");

	while (fgets(line, sizeof(line), f))
		found |= !strcmp(line, "nodev\tfutexfs\n");
	fclose(f);
	EXPECT_TRUE(found);
	close(self->dev);
}

TEST_F(fs, users_cannot_mount_it)
{
	EXPECT_EQ(-1, mount("none", "/mnt", "futexfs", 0, NULL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, syscall(SYS_fsopen, "futexfs", 0));
	EXPECT_EQ(EINVAL, errno);
	close(self->dev);
}

TEST_F(fs, unloads_when_unused_and_loads_again)
{
	close(self->dev);
	for (int i = 0; i < 5; i++) {
		ASSERT_TRUE(unloads());
		ASSERT_EQ(0, load());
	}
}

TEST_F(fs, open_device_keeps_the_module)
{
	EXPECT_EQ(EWOULDBLOCK, unload());
	close(self->dev);
	EXPECT_TRUE(unloads());
}

TEST_F(fs, descriptor_keeps_the_module)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);

	ASSERT_GE(fd, 0);
	close(self->dev);
	sleep_ms(20);
	EXPECT_EQ(EWOULDBLOCK, unload());
	close(fd);
	EXPECT_TRUE(unloads());
}

TEST_F(fs, fired_descriptor_keeps_the_module)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);

	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(self->dev);
	sleep_ms(20);
	EXPECT_EQ(EWOULDBLOCK, unload());
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	close(fd);
	EXPECT_TRUE(unloads());
}

TEST_F(fs, sleeper_keeps_the_module)
{
	pid_t pid = fork();

	if (!pid)
		_exit(do_wait(self->dev, self->word, SHARED, 0) ? errno : 0);
	ASSERT_TRUE(counter_becomes("queued", 1));
	close(self->dev);
	sleep_ms(20);
	EXPECT_EQ(EWOULDBLOCK, unload());
	kill(pid, SIGKILL);
	child_status(pid);
	EXPECT_TRUE(unloads());
}

/*
 * An O_PATH handle keeps mount and dentry, but no file of ours: the superblock it
 * keeps alive keeps the module.
 */
TEST_F(fs, path_handle_keeps_the_module)
{
	struct statfs st;
	char path[32], link[64] = "";
	int fd = do_fd(self->dev, self->word, SHARED, 0), handle;

	ASSERT_GE(fd, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	handle = open(path, O_PATH | O_CLOEXEC);
	ASSERT_GE(handle, 0);
	close(fd);
	close(self->dev);
	ASSERT_TRUE(counter_becomes("fds", 0));
	sleep_ms(50);
	EXPECT_EQ(EWOULDBLOCK, unload());

	/* What the handle can do needs the module's code, which is there. */
	EXPECT_EQ(0, fstatfs(handle, &st));
	EXPECT_EQ(AFUTEX_FS_MAGIC, st.f_type);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", handle);
	EXPECT_GT(readlink(path, link, sizeof(link) - 1), 0);
	EXPECT_STREQ("futexfs:[futex]", link);

	close(handle);
	EXPECT_TRUE(unloads());
}

/* A program that opens the device now and then, and stops when the module went often enough. */
static int open_and_close(word_t *word, _Atomic int *loads)
{
	for (int i = 0; i < rounds(2000) || *loads < rounds(20); i++) {
		int seen = *loads, dev = afutex_open();

		if (dev >= 0) {
			close(do_fd(dev, word, SHARED, 0));
			close(dev);
		}
		/* The mount goes a moment after the last close: mostly it is used again. */
		if (i % 100 == 99 && !eventually(*loads != seen))
			return 1;
	}
	return 0;
}

TEST_F_TIMEOUT(fs, opens_and_closes_race_unloading, 600)
{
	_Atomic int *loads = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
	int status;
	pid_t pid;

	ASSERT_TRUE(loads != MAP_FAILED);
	close(self->dev);
	pid = fork();
	if (!pid)
		_exit(open_and_close(self->word, loads));
	while (!waitpid(pid, &status, WNOHANG)) {
		if (unload())
			continue;
		++*loads;
		ASSERT_EQ(0, load());
	}
	EXPECT_EQ(0, status);
	EXPECT_GE(*loads, rounds(20));
	munmap((void *)loads, 4096);
}

/*
 * The descriptors of one open device share an inode: nobody may change it, whoever made it. All as
 * eventfd has it.
 */
static int refuses_changes(int fd)
{
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct stat before, after;

	if (fstat(fd, &before))
		return errno;
	if (!fchmod(fd, 0777) || errno != EOPNOTSUPP)
		return 1001;
	if (!fchown(fd, 5, 5) || errno != EOPNOTSUPP)
		return 1002;
	if (!futimens(fd, times) || errno != EOPNOTSUPP)
		return 1003;
	if (fstat(fd, &after))
		return errno;
	return memcmp(&before, &after, sizeof(before)) ? 1004 : 0;
}

TEST_F(fs, metadata_cannot_be_changed)
{
	struct afutex_open watch = {
		.watch = { .uaddr = addr_of(self->word), .mask = ~0u, .flags = FUTEX2_SIZE_U32 },
	};
	struct afutex_set set = {};
	int fds[] = {
		eventfd(0, EFD_CLOEXEC),
		do_fd(self->dev, self->word, SHARED, 0),
		ioctl(self->dev, AFUTEX_IOC_OPEN, &watch),
		ioctl(self->dev, AFUTEX_IOC_SET, &set),
	};

	for (int i = 0; i < 4; i++) {
		pid_t pid;

		ASSERT_GE(fds[i], 0);
		EXPECT_EQ(0, refuses_changes(fds[i]));
		/* Nor may a user who opened the device. */
		pid = fork();
		if (!pid) {
			int dev, status = setresuid(12345, 12345, 12345);

			dev = afutex_open();
			_exit(status || dev < 0 ||
			      refuses_changes(do_fd(dev, self->word, SHARED, 0)));
		}
		EXPECT_EQ(0, child_status(pid));
		close(fds[i]);
	}
	close(self->dev);
}

/* The next program finds the mount that the last one used, or makes another. */
TEST_F(fs, descriptor_outlives_device_and_mount)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0), other;

	ASSERT_GE(fd, 0);
	close(self->dev);
	/* Long enough for the mount to go, whether or not it does. */
	sleep_ms(100);
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	other = do_fd(self->dev, self->word, SHARED, 0);
	ASSERT_GE(other, 0);
	EXPECT_EQ(2, do_wake(self->dev, self->word, SHARED, 2));
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ(READABLE, poll_ms(other, 0));
	close(other);
	close(self->dev);
	EXPECT_EQ(EWOULDBLOCK, unload());
	close(fd);
	EXPECT_TRUE(unloads());
}

/* mount(2) looks the type up while the module is unloaded. */
TEST_F(fs, mounts_race_unloading)
{
	int status;
	pid_t pid;

	close(self->dev);
	pid = fork();
	if (!pid) {
		for (int i = 0; i < rounds(2000); i++)
			if (!mount("none", "/mnt", "futexfs", 0, NULL))
				_exit(1);
		_exit(0);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (!unload()) {
			ASSERT_EQ(0, load());
		}
	}
	EXPECT_EQ(0, status);
}

TEST_HARNESS_MAIN
