/* SPDX-License-Identifier: GPL-2.0 */
/* A set with nothing in it, and a word of each kind to wait for. */
#ifndef SET_FIXTURE_H
#define SET_FIXTURE_H

#include "set.h"

FIXTURE(set)
{
	int dev, file, set;
	word_t *word;
	uint32_t flags;
};

FIXTURE_VARIANT(set)
{
	int scope;
	enum memory memory;
};

FIXTURE_VARIANT_ADD(set, private) { PRIVATE, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(set, shared) { SHARED, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(set, file) { SHARED, MEMFD };

FIXTURE_SETUP(set)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->word = memory_map(variant->memory, &self->file);
	ASSERT_TRUE(self->word != NULL);
	memset((void *)self->word, 0, 4096);
	self->flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0);
	self->set = new_set(self->dev, O_CLOEXEC | O_NONBLOCK, 0);
	ASSERT_GE(self->set, 0);
}

FIXTURE_TEARDOWN(set)
{
	close(self->set);
	close(self->dev);
	ASSERT_IDLE();
}

#define WAKE(n, word)	EXPECT_EQ(n, do_wake(self->dev, word, variant->scope, n))

#endif /* SET_FIXTURE_H */
