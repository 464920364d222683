# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What install puts on a machine, and uninstall removes.

# Sets INSTALLED to pairs of a file of the project and its place, for a kernel.
installed_files() {
	INSTALLED=(
		"build/stock/afutex.ko /lib/modules/$1/updates/afutex.ko"
		"include/uapi/linux/afutex.h /usr/local/include/linux/afutex.h"
		"include/afutex.h /usr/local/include/afutex.h"
	)
}

# Stops if a folder cannot be written, so that nothing is changed by half.
installed_check() {
	local dir

	for dir in /lib/modules /etc /usr/local; do
		[ -w "$dir" ] || die "$dir cannot be written: it is mounted read-only, or not there."
	done
}
