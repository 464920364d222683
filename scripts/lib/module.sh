# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Builds the module and the test programs for a kernel.

# Makes the kernel $1, which is "stock", "debug" or the path of a kernel's build
# folder, and sets KBUILD, VMLINUZ and OUT, where what is built for it goes.
kernel_select() {
	case $1 in
	stock)
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
			die "--kernel takes stock, debug or the build folder of an x86 kernel, and there is no $VMLINUZ: run 'make' there."
		;;
	esac
	KERNEL=$1
	OUT=$PROJECT/build/$(basename "$1")
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
	step "module-$(basename "$KERNEL")" "building the module for the $(basename "$KERNEL") kernel" \
		module_make modules
}

# Makes the tests and the demo, in $OUT/selftests.
tests_build() {
	mkdir -p "$OUT/selftests"
	step "tests-$(basename "$KERNEL")" "building the tests" \
		in_root make -C "$PROJECT/selftests" O="$OUT/selftests" KSRC="$KSRC" -j"$JOBS"
}

# Makes the measurements alone: $OUT/selftests/bench.
bench_build() {
	mkdir -p "$OUT/selftests"
	step bench "building the measurements" \
		in_root make -C "$PROJECT/selftests" O="$OUT/selftests" KSRC="$KSRC" \
		"$OUT/selftests/bench"
}
