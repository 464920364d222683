// SPDX-License-Identifier: GPL-2.0
/* A set in io_uring: multishot polls, many reads in flight, and cancellations. */
#include <liburing.h>

#include "set_fixture.h"

#define READS	4

/* The completion of the request with that number, or -ETIME after ten seconds. */
static int completion(struct io_uring *ring, uint64_t *which, uint32_t *flags)
{
	struct __kernel_timespec ts = { .tv_sec = 10 };
	struct io_uring_cqe *cqe;
	int ret = io_uring_wait_cqe_timeout(ring, &cqe, &ts);

	*which = 0;
	*flags = 0;
	if (ret)
		return ret;
	ret = cqe->res;
	*which = cqe->user_data;
	*flags = cqe->flags;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

static bool no_completion(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;

	return io_uring_peek_cqe(ring, &cqe) == -EAGAIN;
}

static void submit_read(struct io_uring *ring, int set, struct afutex_event *ev, int room,
			uint64_t which)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, set, ev, room * sizeof(*ev), 0);
	io_uring_sqe_set_data64(sqe, which);
	io_uring_submit(ring);
}

/* Cancels the request with that number, and returns what the cancellation and it gave. */
static void cancel(struct io_uring *ring, uint64_t which, int *cancelled, int *result)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	uint64_t got;
	uint32_t flags;

	io_uring_prep_cancel64(sqe, which, 0);
	io_uring_sqe_set_data64(sqe, 1000);
	io_uring_submit(ring);
	for (int i = 0; i < 2; i++) {
		int ret = completion(ring, &got, &flags);

		if (got == 1000)
			*cancelled = ret;
		else
			*result = ret;
	}
}

TEST_F(set, poll_that_stays)
{
	struct afutex_event ev[4];
	int cancelled = 1, result = 1;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	uint64_t which;
	uint32_t flags;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	ASSERT_EQ(0, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 7));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_poll_multishot(sqe, self->set, POLLIN);
	io_uring_sqe_set_data64(sqe, 5);
	ASSERT_EQ(1, io_uring_submit(&ring));
	EXPECT_TRUE(no_completion(&ring));
	/* For each wake, read in between or not. */
	for (int i = 0; i < 20; i++) {
		WAKE(1, self->word);
		ASSERT_TRUE(completion(&ring, &which, &flags) & POLLIN);
		ASSERT_EQ(5, which);
		ASSERT_TRUE(flags & IORING_CQE_F_MORE);
		if (i % 2)
			ASSERT_EQ(1, events(self->set, ev, 4));
	}
	EXPECT_EQ(-EAGAIN, events(self->set, ev, 4));
	EXPECT_TRUE(no_completion(&ring));
	cancel(&ring, 5, &cancelled, &result);
	EXPECT_EQ(0, cancelled);
	EXPECT_EQ(-ECANCELED, result);
	WAKE(1, self->word);
	EXPECT_TRUE(no_completion(&ring));
	EXPECT_EQ(1, events(self->set, ev, 4));
	io_uring_queue_exit(&ring);
}

/* One after the other: each wake completes one of the reads. */
TEST_F(set, reads_in_flight)
{
	struct afutex_event ev[READS];
	struct io_uring ring;
	uint32_t flags, ended = 0;
	uint64_t which;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	for (int i = 0; i < READS; i++) {
		ASSERT_EQ(i, add(self->set, &self->word[i], self->flags, 0, i));
		submit_read(&ring, self->set, &ev[i], 1, i);
	}
	EXPECT_TRUE(no_completion(&ring));
	for (int i = 0; i < READS; i++) {
		WAKE(1, &self->word[i]);
		ASSERT_EQ(sizeof(ev[0]), completion(&ring, &which, &flags));
		ASSERT_LT(which, READS);
		EXPECT_EQ(0, ended & 1 << which);
		ended |= 1 << which;
		EXPECT_EQ(i, (int)ev[which].cookie);
		EXPECT_TRUE(no_completion(&ring));
	}
	EXPECT_EQ(-EAGAIN, events(self->set, ev, 1));
	io_uring_queue_exit(&ring);
}

/* Reads that are cancelled, or end with their ring, take no event. */
TEST_F(set, cancelled_reads)
{
	int cancelled = 1, result = 1;
	struct afutex_event ev[READS];
	struct io_uring ring;
	uint32_t flags;
	uint64_t which;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	ASSERT_EQ(0, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 7));
	for (int i = 0; i < READS; i++)
		submit_read(&ring, self->set, &ev[i], 1, i);
	for (int i = 0; i < READS - 1; i++) {
		cancel(&ring, i, &cancelled, &result);
		EXPECT_EQ(0, cancelled);
		EXPECT_EQ(-ECANCELED, result);
	}
	WAKE(1, self->word);
	EXPECT_EQ(sizeof(ev[0]), completion(&ring, &which, &flags));
	EXPECT_EQ(READS - 1, which);
	EXPECT_EQ(1, ev[READS - 1].count);

	for (int i = 0; i < READS; i++)
		submit_read(&ring, self->set, &ev[i], 1, i);
	io_uring_queue_exit(&ring);
	/* The ring is released a moment later. */
	EXPECT_TRUE(eventually(({
		do_wake(self->dev, self->word, variant->scope, 1);
		events(self->set, ev, 1) == 1;
	})));
}

/* A cancellation and a wake at once: the read has the event, or it is still there. */
TEST_F_TIMEOUT(set, wake_or_cancellation, 900)
{
	struct afutex_event ev[2];
	struct io_uring ring;
	int read = 0, left = 0;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	ASSERT_EQ(0, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 7));
	for (int i = 0; i < rounds(2000); i++) {
		int cancelled = 1, result = 1, n;

		submit_read(&ring, self->set, ev, 1, 3);
		/* The read is completed by this task, when it waits: the two meet there. */
		WAKE(1, self->word);
		cancel(&ring, 3, &cancelled, &result);
		if (cancelled)
			ASSERT_EITHER(-ENOENT, -EALREADY, cancelled);
		n = events(self->set, &ev[1], 1);
		if (result == sizeof(ev[0])) {
			ASSERT_EQ(1, ev[0].count);
			ASSERT_EQ(-EAGAIN, n);
			read++;
		} else {
			ASSERT_EQ(-ECANCELED, result);
			ASSERT_EQ(1, n);
			ASSERT_EQ(1, ev[1].count);
			left++;
		}
	}
	ASSERT_GT(read + left, 0);
	io_uring_queue_exit(&ring);
}

/* A set that is closed lives on while a read is in flight, and goes with it. */
TEST_F(set, closed_with_a_read_in_flight)
{
	int set = new_set(self->dev, 0, 0), next, cancelled = 1, result = 1;
	struct afutex_event ev[2];
	struct io_uring ring;
	uint32_t flags;
	uint64_t which;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	ASSERT_EQ(0, add(set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 7));
	submit_read(&ring, set, ev, 1, 1);
	submit_read(&ring, set, &ev[1], 1, 2);
	close(set);
	WAKE(1, self->word);
	EXPECT_EQ(sizeof(ev[0]), completion(&ring, &which, &flags));
	next = do_fd(self->dev, self->word, variant->scope, 0);
	cancel(&ring, 3 - which, &cancelled, &result);
	EXPECT_EQ(0, cancelled);
	EXPECT_EQ(-ECANCELED, result);
	/* The set is released a moment after the request. */
	EXPECT_TRUE(counter_becomes("queued", 1));
	EXPECT_EQ(0, poll_ms(next, 0));
	close(next);
	io_uring_queue_exit(&ring);
}

/* One request for all the events that ever come, into buffers that the ring picks. */
TEST_F(set, read_that_stays)
{
	enum { BUFFERS = 8 };
	static struct afutex_event bufs[BUFFERS][2];
	struct io_uring_buf_ring *br;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	uint32_t flags;
	uint64_t which;
	int ret;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	br = io_uring_setup_buf_ring(&ring, BUFFERS, 1, 0, &ret);
	ASSERT_TRUE(br != NULL);
	for (int i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(br, bufs[i], sizeof(bufs[i]), i, BUFFERS - 1, i);
	io_uring_buf_ring_advance(br, BUFFERS);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(i, add(self->set, &self->word[i], self->flags | AFUTEX_PERSISTENT, 0, i));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read_multishot(sqe, self->set, 0, 0, 1);
	io_uring_sqe_set_data64(sqe, 5);
	ASSERT_EQ(1, io_uring_submit(&ring));
	for (int i = 0; i < 5 * BUFFERS; i++) {
		int id;

		WAKE(1, &self->word[i % 3]);
		ASSERT_EQ(sizeof(bufs[0][0]), completion(&ring, &which, &flags));
		ASSERT_TRUE(flags & IORING_CQE_F_BUFFER);
		ASSERT_TRUE(flags & IORING_CQE_F_MORE);
		id = flags >> IORING_CQE_BUFFER_SHIFT;
		EXPECT_EQ(i % 3, (int)bufs[id][0].cookie);
		EXPECT_EQ(1, bufs[id][0].count);
		io_uring_buf_ring_add(br, bufs[id], sizeof(bufs[id]), id, BUFFERS - 1, 0);
		io_uring_buf_ring_advance(br, 1);
	}
	io_uring_free_buf_ring(&ring, br, BUFFERS, 1);
	io_uring_queue_exit(&ring);
}

TEST_HARNESS_MAIN
