/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of tests of one word. Each test runs with a private word, with a shared
 * one in anonymous memory, and with one in a file:
 *
 *	WORD_FIXTURE(name, int more;);
 *	WORD_VARIANTS(name);
 *	FIXTURE_SETUP(name) { WORD_SETUP(); }
 *	FIXTURE_TEARDOWN(name) { WORD_TEARDOWN(); }
 */
#ifndef WORD_FIXTURE_H
#define WORD_FIXTURE_H

#include "memory.h"

/* A test has self->dev, self->word and self->flags; variant->scope and variant->memory. */
#define WORD_FIXTURE(name, ...)							\
	FIXTURE(name)								\
	{									\
		int dev, file;							\
		word_t *word;							\
		/* FUTEX2_*: how the word is described */			\
		uint32_t flags;							\
		__VA_ARGS__							\
	};									\
	FIXTURE_VARIANT(name)							\
	{									\
		int scope;							\
		enum memory memory;						\
	}

#define WORD_VARIANTS(name)							\
	FIXTURE_VARIANT_ADD(name, private) { PRIVATE, ANON_PRIVATE };		\
	FIXTURE_VARIANT_ADD(name, shared) { SHARED, ANON_PRIVATE };		\
	FIXTURE_VARIANT_ADD(name, file) { SHARED, MEMFD }

/* The word is 0, and its memory was never touched. */
#define WORD_SETUP() do {							\
	self->dev = afutex_open();						\
	ASSERT_GE(self->dev, 0);						\
	self->word = memory_map(variant->memory, &self->file);			\
	ASSERT_NE(NULL, (void *)self->word);					\
	self->flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0);	\
} while (0)

#define WORD_TEARDOWN() do {							\
	close(self->dev);							\
	EXPECT_IDLE();								\
} while (0)

#endif /* WORD_FIXTURE_H */
