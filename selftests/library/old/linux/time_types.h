/* SPDX-License-Identifier: GPL-2.0 */
#error "there is no <linux/time_types.h> before Linux 5.1"
