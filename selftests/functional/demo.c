// SPDX-License-Identifier: GPL-2.0
/* selftests/demo/loop.c, of which README.md and afutex.rst show a part. */
#include "afutex_test.h"

#undef _DEFAULT_SOURCE
#define main	loop_main
#include "../demo/loop.c"
#undef main

FIXTURE(demo)
{
};

FIXTURE_SETUP(demo)
{
}

FIXTURE_TEARDOWN(demo)
{
	EXPECT_IDLE();
}

/*
 * Three processes see the last of many changes, among wakes without a change and
 * beside a socket and a timer. A lost wake is a timeout.
 */
TEST_F_TIMEOUT(demo, event_loop, 600)
{
	char name[] = "loop", changes[16];
	char *args[3] = { name, changes };
	pid_t pid;

	snprintf(changes, sizeof(changes), "%d", rounds(20000));
	pid = fork();
	if (!pid)
		_exit(loop_main(2, args));
	EXPECT_EQ(0, child_status(pid));
}

TEST_HARNESS_MAIN
