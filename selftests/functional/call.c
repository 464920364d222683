// SPDX-License-Identifier: GPL-2.0
/* The ioctls themselves: what is refused, and with which error. */
#include "afutex_test.h"

FIXTURE(call)
{
	int dev;
	word_t word;
};

FIXTURE_SETUP(call)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
}

FIXTURE_TEARDOWN(call)
{
	close(self->dev);
	EXPECT_IDLE();
}

#define EXPECT_ERRNO(err, call) do {	\
	errno = 0;			\
	EXPECT_EQ(-1, (call));		\
	EXPECT_EQ(err, errno);		\
} while (0)

TEST_F(call, structure_has_the_fixed_layout)
{
	EXPECT_EQ(40, sizeof(struct afutex_call));
	EXPECT_EQ(8, offsetof(struct afutex_call, op));
	EXPECT_EQ(12, offsetof(struct afutex_call, val));
	EXPECT_EQ(16, offsetof(struct afutex_call, timeout));
	EXPECT_EQ(24, offsetof(struct afutex_call, uaddr2));
	EXPECT_EQ(32, offsetof(struct afutex_call, val3));
	EXPECT_EQ(0x4028f701, AFUTEX_IOC_CALL);
}

TEST_F(call, node_is_for_every_user)
{
	struct stat st;

	ASSERT_EQ(0, stat("/dev/afutex", &st));
	EXPECT_EQ(S_IFCHR | 0666, st.st_mode);
}

TEST_F(call, unknown_ioctls_are_ENOTTY)
{
	EXPECT_ERRNO(ENOTTY, ioctl(self->dev, _IO(0xF7, 0x7f), 0));
	EXPECT_ERRNO(ENOTTY, ioctl(self->dev, _IOW(0xF7, 0x01, char[48]), &self->word));
	EXPECT_ERRNO(ENOTTY, ioctl(self->dev, _IOR(0xF7, 0x01, struct afutex_call), &self->word));
	EXPECT_ERRNO(ENOTTY, ioctl(self->dev, _IOW(0xF6, 0x01, struct afutex_call), &self->word));
	EXPECT_ERRNO(ENOTTY, ioctl(self->dev, TCGETS, &self->word));
}

TEST_F(call, padding_must_be_zero)
{
	struct afutex_call call = { .uaddr = addr_of(&self->word), .op = FUTEX_WAKE, .pad = 1 };

	EXPECT_ERRNO(EINVAL, ioctl(self->dev, AFUTEX_IOC_CALL, &call));
}

TEST_F(call, structure_must_be_readable)
{
	EXPECT_ERRNO(EFAULT, ioctl(self->dev, AFUTEX_IOC_CALL, NULL));
	EXPECT_ERRNO(EFAULT, ioctl(self->dev, AFUTEX_IOC_CALL, -4096L));
}

TEST_F(call, unknown_commands_are_ENOSYS)
{
	static const unsigned int ops[] = {
		FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_LOCK_PI2,
		FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI, 14, 31, 126,
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		EXPECT_ERRNO(ENOSYS, afutex_call(self->dev, &self->word, ops[i], 0, NULL));
		EXPECT_ERRNO(ENOSYS, afutex_call(self->dev, &self->word, ops[i] | PRIVATE, 0,
						 NULL));
	}
}

TEST_F(call, unknown_flags_are_ENOSYS)
{
	for (unsigned int flag = 512; flag; flag <<= 1) {
		EXPECT_ERRNO(ENOSYS, afutex_call(self->dev, &self->word, FUTEX_WAKE | flag, 1,
						 NULL));
		EXPECT_ERRNO(ENOSYS, afutex_call(self->dev, &self->word, FUTEX_FD | flag, 0, NULL));
	}
}

TEST_F(call, realtime_clock_is_ENOSYS_where_futex_refuses_it)
{
	EXPECT_ERRNO(ENOSYS, afutex_call(self->dev, &self->word,
					 FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL));
	EXPECT_ERRNO(ENOSYS, afutex_call(self->dev, &self->word,
					 FUTEX_FD | FUTEX_CLOCK_REALTIME, 0, NULL));
}

TEST_F(call, misaligned_words_are_EINVAL)
{
	char *word = (char *)&self->word + 1;

	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, word, FUTEX_WAIT, 0, NULL));
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, word, FUTEX_WAKE, 1, NULL));
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, word, FUTEX_FD, 0, NULL));
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, word, FUTEX_WAIT | PRIVATE, 0, NULL));
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, word, FUTEX_WAKE | PRIVATE, 1, NULL));
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, word, FUTEX_FD | PRIVATE, 0, NULL));
}

TEST_F(call, unmapped_words_are_EFAULT)
{
	void *gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_TRUE(gone != MAP_FAILED);
	munmap(gone, 4096);
	EXPECT_ERRNO(EFAULT, afutex_call(self->dev, gone, FUTEX_WAIT, 0, NULL));
	EXPECT_ERRNO(EFAULT, afutex_call(self->dev, gone, FUTEX_FD, 0, NULL));
	EXPECT_ERRNO(EFAULT, afutex_call(self->dev, gone, FUTEX_WAIT | PRIVATE, 0, NULL));
	EXPECT_ERRNO(EFAULT, afutex_call(self->dev, gone, FUTEX_FD | PRIVATE, 0, NULL));
}

/* Like in futex(2), a private wake does not look at the memory. */
TEST_F(call, private_wake_of_an_unmapped_word_finds_nobody)
{
	void *gone = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(gone, 4096);
	EXPECT_EQ(0, afutex_call(self->dev, gone, FUTEX_WAKE | PRIVATE, 1, NULL));
	EXPECT_EQ(0, syscall(SYS_futex, gone, FUTEX_WAKE | PRIVATE, 1, NULL, NULL, 0));
}

TEST_F(call, kernel_addresses_are_EFAULT)
{
	static const uint64_t addrs[] = {
		0xffffffff81000000ULL, 0xffff888000000000ULL, 1ULL << 63, -8ULL,
	};

	for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		for (int op = FUTEX_WAIT; op <= FUTEX_FD; op++) {
			struct afutex_call call = { .uaddr = addrs[i], .op = op };

			EXPECT_ERRNO(EFAULT, ioctl(self->dev, AFUTEX_IOC_CALL, &call));
			call.op |= PRIVATE;
			EXPECT_ERRNO(EFAULT, ioctl(self->dev, AFUTEX_IOC_CALL, &call));
		}
	}
}

TEST_F(call, timeouts_are_checked_first)
{
	struct timespec64 negative = { -1, 0 }, long_nsec = { 0, 1000000000 };
	struct timespec64 minus_nsec = { 0, -1 };

	/* The word differs: the timeout is looked at before. */
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, &self->word, FUTEX_WAIT, 1, &negative));
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, &self->word, FUTEX_WAIT, 1, &long_nsec));
	EXPECT_ERRNO(EINVAL, afutex_call(self->dev, &self->word, FUTEX_WAIT, 1, &minus_nsec));
	EXPECT_ERRNO(EFAULT, afutex_call(self->dev, &self->word, FUTEX_WAIT, 1, (void *)8));
}

/* Only FUTEX_WAIT has a timeout: the others take anything there. */
TEST_F(call, timeout_of_other_commands_is_ignored)
{
	int fd;

	EXPECT_EQ(0, afutex_call(self->dev, &self->word, FUTEX_WAKE, 1, (void *)8));
	fd = afutex_call(self->dev, &self->word, FUTEX_FD, 0, (void *)8);
	EXPECT_GE(fd, 0);
	close(fd);
}

TEST_F(call, info_tells_version_and_commands)
{
	struct afutex_info info;

	memset(&info, 0xff, sizeof(info));
	ASSERT_EQ(0, ioctl(self->dev, AFUTEX_IOC_INFO, &info));
	EXPECT_EQ(AFUTEX_VERSION, info.version);
	EXPECT_GE(info.buckets, 256);
	EXPECT_EQ(0, info.buckets & (info.buckets - 1));
	EXPECT_EQ(7, info.ops & 7);
	EXPECT_EQ(0, info.ops & (1 << FUTEX_LOCK_PI));
}

TEST_F(call, info_fits_older_and_newer_callers)
{
	char buf[64], untouched[64];
	struct afutex_info *info = (void *)buf;

	memset(buf, 0xff, sizeof(buf));
	memset(untouched, 0xff, sizeof(untouched));
	ASSERT_EQ(0, ioctl(self->dev, _IOR(0xF7, 0x02, char[4]), buf));
	EXPECT_EQ(AFUTEX_VERSION, info->version);
	EXPECT_EQ(0, memcmp(buf + 4, untouched, sizeof(buf) - 4));

	memset(buf, 0xff, sizeof(buf));
	ASSERT_EQ(0, ioctl(self->dev, _IOR(0xF7, 0x02, char[48]), buf));
	EXPECT_EQ(AFUTEX_VERSION, info->version);
	for (size_t i = sizeof(*info); i < 48; i++)
		EXPECT_EQ(0, buf[i]);
	EXPECT_EQ(0, memcmp(buf + 48, untouched, 16));

	EXPECT_ERRNO(EFAULT, ioctl(self->dev, AFUTEX_IOC_INFO, NULL));
}

TEST_F(call, device_cannot_be_read_or_polled_for_data)
{
	char c;

	EXPECT_ERRNO(EINVAL, read(self->dev, &c, 1));
	EXPECT_ERRNO(EINVAL, write(self->dev, &c, 1));
}

TEST_HARNESS_MAIN
