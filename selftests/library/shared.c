// SPDX-License-Identifier: GPL-2.0
/*
 * A program and the shared libraries that it was linked with have one variable of
 * include/afutex.h. Run when the tests are built: it needs no device.
 */
#include <stdio.h>

#include "afutex.h"

void *first_library(int *device);
void *second_library(int *device);

int main(void)
{
	void *own = &_afutex_device_fd;
	void *first = first_library(NULL), *second = second_library(NULL);

	if (own == first && own == second)
		return 0;
	fprintf(stderr, "the program has %p, its libraries have %p and %p\n", own, first, second);
	return 1;
}
