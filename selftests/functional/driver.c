// SPDX-License-Identifier: GPL-2.0
/*
 * Words in memory that a driver maps, here the submission queue of an io_uring: known by
 * its pages, as files are, however large these are. futex(2) refuses it.
 */
#include <linux/io_uring.h>
#include <linux/if_packet.h>
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <sys/auxv.h>

#include "memory.h"

FIXTURE(driver)
{
	int dev, fd;
	size_t size;
	char *map;
	word_t *word;
};

FIXTURE_VARIANT(driver)
{
	/* Of 64 bytes each: the last is as large as a huge page. */
	unsigned int entries;
	/* Or a ring of packets, of one block. */
	unsigned int block;
};

FIXTURE_VARIANT_ADD(driver, page) { .entries = 64 };
FIXTURE_VARIANT_ADD(driver, half_a_huge_page) { .entries = 16384 };
FIXTURE_VARIANT_ADD(driver, huge_page) { .entries = 32768 };
FIXTURE_VARIANT_ADD(driver, packets) { .block = 4096 };
FIXTURE_VARIANT_ADD(driver, huge_page_of_packets) { .block = 2 << 20 };

FIXTURE_SETUP(driver)
{
	struct io_uring_params params = { 0 };
	struct tpacket_req ring = { variant->block, 1, 2048, variant->block / 2048 };

	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->size = variant->block ? variant->block : variant->entries * 64;
	if (variant->block) {
		self->fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
		if (self->fd < 0)
			SKIP(return, "no packet sockets");
		ASSERT_EQ(0, setsockopt(self->fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)));
	} else {
		self->fd = syscall(SYS_io_uring_setup, variant->entries, &params);
		if (self->fd < 0)
			SKIP(return, "no io_uring");
	}
	self->map = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
			 variant->block ? 0 : IORING_OFF_SQES);
	ASSERT_TRUE(self->map != MAP_FAILED);
	self->word = (word_t *)(self->map + self->size / 2 + 64);
}

FIXTURE_TEARDOWN(driver)
{
	if (self->map)
		munmap(self->map, self->size);
	close(self->fd);
	close(self->dev);
	EXPECT_IDLE();
}

/* Of a child that wakes: how many. */
static int woken_by_a_child(int dev, word_t *word, int scope)
{
	pid_t pid = fork();

	if (!pid)
		_exit(do_wake(dev, word, scope, INT32_MAX));
	return child_status(pid);
}

TEST_F(driver, one_word_in_two_processes)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, counter("pinned"));
	EXPECT_EQ(0, do_wake(self->dev, self->word + 1, SHARED, 1));
	EXPECT_EQ(0, woken_by_a_child(self->dev, self->word + 16, SHARED));
	/* The same place in another page of it. */
	if (self->size > 8192)
		EXPECT_EQ(0, woken_by_a_child(self->dev, self->word - 1024, SHARED));
	EXPECT_EQ(1, woken_by_a_child(self->dev, self->word, SHARED));
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	close(fd);
}

TEST_F(driver, one_word_at_two_addresses)
{
	char *again = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
			   variant->block ? 0 : IORING_OFF_SQES);
	word_t *other = (word_t *)(again + self->size / 2 + 64);
	int fd = do_fd(self->dev, self->word, SHARED, 0);

	ASSERT_TRUE(again != MAP_FAILED);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, do_wake(self->dev, other, SHARED, 1));
	close(fd);
	munmap(again, self->size);
}

TEST_F(driver, private_flag)
{
	int fd = do_fd(self->dev, self->word, PRIVATE, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, woken_by_a_child(self->dev, self->word, PRIVATE));
	EXPECT_EQ(1, do_wake(self->dev, self->word, PRIVATE, 1));
	close(fd);
}

/* The driver is gone before the waiter. */
TEST_F(driver, unmapped_and_closed)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);

	ASSERT_GE(fd, 0);
	munmap(self->map, self->size);
	self->map = NULL;
	close(self->fd);
	self->fd = -1;
	EXPECT_EQ(0, poll_ms(fd, 0));
	close(fd);
}

/* The difference from futex(2), to which this memory is bad. */
TEST_F(driver, difference_futex_refuses_it)
{
	struct timespec zero = { 0, 0 };
	struct timespec64 zero64 = { 0, 0 };

	EXPECT_EQ(-1, syscall(SYS_futex, self->word, FUTEX_WAIT, 0, &zero, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, afutex_call(self->dev, self->word, FUTEX_WAIT, 0, &zero64));
	EXPECT_EQ(ETIMEDOUT, errno);
}

/* Memory of a device has no pages: both refuse it. */
TEST(device_memory_is_EFAULT)
{
	struct timespec zero = { 0, 0 };
	struct timespec64 zero64 = { 0, 0 };
	int dev = afutex_open(), mem = open("/dev/mem", O_RDONLY);

	ASSERT_GE(dev, 0);
	if (mem < 0)
		SKIP(return, "no /dev/mem");
	for (int i = 0; i < 2; i++) {
		uint32_t *word = mmap(NULL, 4096, PROT_READ, i ? MAP_PRIVATE : MAP_SHARED, mem,
				      0xf0000);

		if (word == MAP_FAILED)
			continue;
		EXPECT_EQ(-1, syscall(SYS_futex, word, FUTEX_WAIT, *word, &zero, NULL, 0));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, afutex_call(dev, word, FUTEX_WAIT, *word, &zero64));
		EXPECT_EQ(EFAULT, errno);
		munmap(word, 4096);
	}
	close(mem);
	close(dev);
	EXPECT_IDLE();
}

/* What the kernel maps for itself is in no file, and is mapped privately: by address. */
TEST(vdso)
{
	word_t *word = (word_t *)getauxval(AT_SYSINFO_EHDR);
	int dev = afutex_open(), fd;

	ASSERT_GE(dev, 0);
	ASSERT_TRUE(word != NULL);
	fd = do_fd(dev, word, SHARED, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, counter("pinned"));
	EXPECT_EQ(0, woken_by_a_child(dev, word, SHARED));
	EXPECT_EQ(1, do_wake(dev, word, SHARED, 1));
	close(fd);
	close(dev);
	EXPECT_IDLE();
}

TEST_HARNESS_MAIN
