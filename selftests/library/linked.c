// SPDX-License-Identifier: GPL-2.0
/*
 * include/afutex.h in one more file of a program, in C or in C++, or in a shared library:
 * where the variable of the library is there, and the descriptor of the device.
 */
#include "afutex.h"

#ifdef __cplusplus
extern "C"
#endif
#if defined(__PIC__) && !defined(__PIE__)
__attribute__((visibility("default")))
#endif
void *NAME(int *device);

void *NAME(int *device)
{
	if (device)
		*device = afutex_device();
	return &_afutex_device_fd;
}
