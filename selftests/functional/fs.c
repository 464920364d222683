// SPDX-License-Identifier: GPL-2.0
/* futexfs, and what keeps the module loaded. To be run as root, in a guest. */
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

/* Without descriptors the device alone leaves no mount behind. */
TEST_F(fs, opens_and_closes_race_unloading)
{
	int status, loads = 0;
	pid_t pid;

	close(self->dev);
	pid = fork();
	if (!pid) {
		for (int i = 0; i < rounds(2000); i++) {
			int dev = afutex_open();

			if (dev < 0)
				continue;
			close(do_fd(dev, self->word, SHARED, 0));
			close(dev);
		}
		_exit(0);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (unload())
			continue;
		loads++;
		ASSERT_EQ(0, load());
	}
	EXPECT_EQ(0, status);
	/* The module was unloaded now and then, or nothing was tested. */
	EXPECT_GT(loads, 0);
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
