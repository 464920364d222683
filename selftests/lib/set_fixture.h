/* SPDX-License-Identifier: GPL-2.0 */
/* A set with nothing in it, and a word of each kind to wait for. */
#ifndef SET_FIXTURE_H
#define SET_FIXTURE_H

#include "set.h"
#include "word_fixture.h"

WORD_FIXTURE(set, int set;);
WORD_VARIANTS(set);

FIXTURE_SETUP(set)
{
	WORD_SETUP();
	self->set = new_set(self->dev, O_CLOEXEC | O_NONBLOCK, 0);
	ASSERT_GE(self->set, 0);
}

FIXTURE_TEARDOWN(set)
{
	close(self->set);
	WORD_TEARDOWN();
}

#define WAKE(n, word)	EXPECT_EQ(n, do_wake(self->dev, word, variant->scope, n))

#endif /* SET_FIXTURE_H */
