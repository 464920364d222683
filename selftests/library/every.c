// SPDX-License-Identifier: GPL-2.0
/*
 * Uses every function of include/afutex.h, in what C and C++ have in common: for
 * selftests/library/matrix, which compiles it in every way that the header is for.
 */
#include "afutex.h"

int every(int fd, uint32_t *word, struct futex *f);

int every(int fd, uint32_t *word, struct futex *f)
{
	static struct futex other = FUTEX_INITIALIZER(1);
	struct timespec ts = { 1, 0 };
	struct futex_waitv waiter = { 0, (uintptr_t)word, FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, 0 };
	struct afutex_wakev_word wake = { (uintptr_t)word, 1, FUTEX2_SIZE_U8, 1, 0 };
	struct afutex_watch watch = afutex_watch_for(word, 0, FUTEX2_SIZE_U64, 0);
	struct afutex_ctl item = { AFUTEX_CTL_ADD, 0, 0, 0, watch };
	struct afutex_event event;
	struct afutex_domain domain;
	struct afutex_info info;
	static struct afutex_mapped_set mapped;
	struct afutex_mutex mutex_watch;
	struct afutex_sem sem_watch;
	struct afutex_taken taken;
	pthread_mutex_t mutex;
	sem_t sem;
	uint64_t wakes = 0;
	uint32_t seen = 0;
	int ret = afutex_device();

	ret |= afutex_device_set(fd) | afutex_device_reopen() | afutex_device_info(&info);
	ret |= afutex_futex(word, FUTEX_WAKE, 1, 0, NULL, 0);
	ret |= afutex_word_wait(word, 1, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U16, &ts);
	ret |= afutex_word_wake(word, 1, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32);
	ret |= afutex_word_requeue(word, 0, word + 1, FUTEX2_SIZE_U32, 1, 1);
	ret |= afutex_wake_one(word) | afutex_wake_all(word);
	ret |= afutex_wake_one_private(word) | afutex_wake_all_private(word);
	ret |= afutex_words_wait(&waiter, 1, &ts) | afutex_words_wake(&wake, 1);
	ret |= afutex_watch_open(word, 0, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32, O_CLOEXEC, 0);
	ret |= afutex_watch_next(fd, word, &seen);
	ret |= afutex_watch_rearm(fd, 0, AFUTEX_COMPARE, &wakes) | afutex_watch_read(fd, &wakes);
	ret |= afutex_set_open(O_CLOEXEC, 0) | afutex_set_ctl(fd, &item, 1);
	ret |= afutex_set_add(fd, &watch, &seen) | afutex_set_change(fd, seen, &watch);
	ret |= afutex_set_remove(fd, seen) | afutex_set_read(fd, &event, 1);
	ret |= afutex_set_ctl_wait(fd, &item, 1, &event, 1, NULL);
	ret |= afutex_mapped_set_open(&mapped, 1, O_CLOEXEC, 0);
	ret |= afutex_mapped_set_attach(&mapped, fd, 1) | afutex_mapped_set_is_empty(&mapped);
	ret |= afutex_mapped_set_take(&mapped, &taken);
	ret |= (int)afutex_mapped_set_take_many(&mapped, &taken, 1);
	ret |= afutex_mapped_set_wait(&mapped, &item, 1, &ts);
	afutex_mapped_set_close(&mapped);
	ret |= afutex_native_open(word, 0, FUTEX2_PRIVATE) | afutex_sem_open(&sem_watch, &sem);
	ret |= afutex_sem_trywait(&sem_watch) | afutex_sem_close(&sem_watch);
	afutex_sem_disarm(&sem_watch);
	ret |= afutex_mutex_open(&mutex_watch, &mutex) | afutex_mutex_trylock(&mutex_watch);
	ret |= afutex_mutex_close(&mutex_watch) | afutex_thread_open() | !afutex_thread_word();
	futex_init(f, 1);
	ret |= futex_down(f) | futex_trydown(f) | futex_down_timeout(&other, &ts);
	ret |= futex_up(f) | futex_up_fair(f) | futex_await(f, 0) | futex_claim(f);
	ret |= afutex_domain_open(&domain, 0, O_CLOEXEC) | afutex_domain_use(&domain, fd);
	ret |= afutex_domain_rings(&domain, word);
	ret |= afutex_domain_wake_one(&domain, word) | afutex_domain_wake_all(&domain, word);
	ret |= afutex_domain_wake_one_private(&domain, word);
	ret |= afutex_domain_wake_all_private(NULL, word);
	ret |= afutex_domain_word_wake(&domain, word, 1, 1, FUTEX2_SIZE_U32);
	ret |= afutex_domain_word_wait(&domain, word, 1, 1, FUTEX2_SIZE_U32, &ts);
	ret |= afutex_domain_word_requeue(&domain, word, 0, word + 1, FUTEX2_SIZE_U32, 1, 1);
	ret |= afutex_domain_words_wait(&domain, &waiter, 1, &ts);
	ret |= afutex_domain_words_wake(&domain, &wake, 1);
	ret |= afutex_domain_watch_open(&domain, word, 0, 1, FUTEX2_SIZE_U32, O_CLOEXEC, 0);
	ret |= afutex_domain_set_open(&domain, O_CLOEXEC, 0);
	ret |= afutex_domain_mapped_set_open(&domain, &mapped, 1, O_CLOEXEC, 0);
	ret |= futex_domain_down(&domain, f) | futex_domain_down_timeout(&domain, f, &ts);
	ret |= futex_domain_up(&domain, f) | futex_domain_up_fair(&domain, f);
	ret |= futex_domain_await(&domain, f, 0);
	afutex_domain_close(&domain);
	return ret;
}
