# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Builds the module and the test programs for a kernel.

# Makes the kernel $1, which is "stock", "debug", "rt" (Debian's with PREEMPT_RT) or the
# path of a kernel's build folder, and sets KBUILD, VMLINUZ and OUT, where what is built
# for it goes.
kernel_select() {
	case $1 in
	stock | rt)
		[ "$1" = stock ] || FLAVOUR=rt-amd64
		kernel_stock
		KBUILD=$STOCK/build VMLINUZ=$STOCK/vmlinuz
		;;
	debug)
		kernel_debug
		KBUILD=$DEBUG/build VMLINUZ=$DEBUG/vmlinuz
		;;
	*)
		kernel_resolve
		KBUILD=$(realpath "$1")
		VMLINUZ=$KBUILD/arch/x86/boot/bzImage
		[ -f "$VMLINUZ" ] ||
			die "a kernel is stock, debug, rt or the build folder of an x86 kernel, and there is no $VMLINUZ: run 'make' there."
		# A folder of its own, beside the source, has a Makefile that names it.
		KSRC=$(sed -n 's/^include \(.*\)\/Makefile$/\1/p' "$KBUILD/Makefile")
		KSRC=$(realpath "${KSRC:-$KBUILD}")
		ROOT_BINDS+=("$KBUILD" "$KSRC")
		;;
	esac
	KERNEL=$1
	OUT=$OUTPUT/$(basename "$1")
	mkdir -p "$OUT"
}

# Runs the kernel's build on our folder, with Debian's or LLVM's compiler as the
# kernel was built with.
module_make() {
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$KBUILD/.config"; then
		set -- LLVM=1 "$@"
	else
		set -- CC="$(kernel_cc "$KBUILD/.config")" "$@"
	fi
	in_root make -C "$KBUILD" M="$PROJECT" MO="$OUT" -j"$JOBS" "$@"
}

# Makes $OUT/afutex.ko.
module_build() {
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$KBUILD/.config"; then root_ensure test; fi
	locked "$OUTPUT/module" step "module-$(basename "$KERNEL")" \
		"building the module for the $(basename "$KERNEL") kernel" module_make modules
}

# Makes $OUT/selftests/afutex_livepatch.ko, where the kernel has live patches.
livepatch_build() {
	grep -q '^CONFIG_LIVEPATCH=y' "$KBUILD/.config" || return 0
	mkdir -p "$OUT/livepatch" "$OUT/selftests"
	locked "$OUTPUT/module" step "livepatch-$(basename "$KERNEL")" "building a live patch" \
		module_make M="$PROJECT/selftests/livepatch" MO="$OUT/livepatch" modules
	cp "$OUT/livepatch/afutex_livepatch.ko" "$OUT/selftests/"
}

# tests_build SENTENCE [NAME]...: makes the tests, or what is named of what is in
# selftests/Makefile, in $OUT/selftests.
tests_build() {
	local what=$1

	shift
	mkdir -p "$OUT/selftests"
	locked "$OUTPUT/tests" step "tests-$(basename "$KERNEL")" "$what" \
		in_root make -C "$PROJECT/selftests" O="$OUT/selftests" KSRC="$KSRC" \
		-j"$JOBS" "${@/#/$OUT/selftests/}"
}
