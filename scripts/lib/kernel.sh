# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The kernels: Debian's stock one, prepared so that Rust modules can be built for
# it, and a debug kernel built from the same source.

# Which of Debian's flavours the stock kernel is: cloud-amd64, amd64, rt-amd64.
FLAVOUR=${AFUTEX_FLAVOUR:-cloud-amd64}

# Sets RELEASE and VERSION (Debian's) to the current image of the flavour in
# backports, and SOURCE to the package of its source. The answer is kept for a day.
kernel_resolve() {
	local answer=$CACHE/kernel-$FLAVOUR

	[ -n "$(find "$answer" -mtime -1 2>/dev/null)" ] ||
		locked "$CACHE/package-list" kernel_find "$answer"
	read -r RELEASE VERSION SOURCE <"$answer"
	KDIR=$CACHE/kernels/$VERSION
	KSRC=$KDIR/src
	STOCK=$KDIR/$FLAVOUR
}

kernel_find() {
	local answer=$1

	[ -z "$(find "$answer" -mtime -1 2>/dev/null)" ] || return 0
	if kernel_ask >"$answer.part"; then
		mv "$answer.part" "$answer"
	elif [ -f "$answer" ]; then
		say "cannot reach Debian's package lists: going on with the kernel found on $(date -r "$answer" +%F)"
	else
		die "cannot find linux-image-$FLAVOUR in $SUITE-backports: check the network, or AFUTEX_FLAVOUR (cloud-amd64, amd64, rt-amd64)."
	fi
}

kernel_ask() {
	in_root bash -euc '
		flavour=$1 suite=$2
		if [ "$(id -u)" -eq 0 ]; then apt-get -qq update; fi >&2
		release=$(apt-cache depends "linux-image-$flavour/$suite-backports" |
			sed -n "s/.*Depends: linux-image-\([0-9].*\)/\1/p")
		version=$(apt-cache show --no-all-versions "linux-image-$release" |
			sed -n "s/^Version: //p")
		source=linux-source-$(echo "$release" | cut -d. -f1,2)
		apt-cache show "$source=$version" >/dev/null
		echo "$release $version $source"
	' - "$FLAVOUR" "$SUITE" 2>>"$OUTPUT/log/resolve.log"
}

# Downloads packages of that version and unpacks them into a folder.
kernel_unpack() {
	local dir=$1

	shift
	mkdir -p "$CACHE/debs" "$dir"
	in_root bash -euc '
		debs=$1 dir=$2 version=$3; shift 3
		cd "$debs"
		for package; do
			apt-get -q download "$package=$version"
			dpkg -x "${package}_${version}"_*.deb "$dir"
			rm "${package}_${version}"_*.deb
		done
	' - "$CACHE/debs" "$dir" "$VERSION" "$@"
}

kernel_make_source() {
	[ ! -d "$KSRC" ] || return 0
	need_space 4 "the kernel's source"
	cache_prune "$CACHE"/kernels/*
	rm -rf "$KDIR/deb" "$KDIR/src.part"
	mkdir -p "$KDIR/src.part"
	step source "downloading the source of Linux $VERSION" \
		kernel_unpack "$KDIR/deb" "$SOURCE"
	step unpack "unpacking it" \
		in_root tar -xf "$KDIR/deb/usr/src/$SOURCE.tar.xz" -C "$KDIR/src.part" --strip-components=1
	rm -rf "$KDIR/deb"
	mv "$KDIR/src.part" "$KSRC"
}

kernel_source() {
	kernel_resolve
	[ -d "$KSRC" ] || locked "$CACHE/kernel" kernel_make_source
	cache_used "$KDIR"
}

# The compiler that Debian built the kernel with, as its configuration names it.
kernel_cc() {
	sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ ]*\) .*/\1/p' "$1"
}

kernel_prepare() {
	local out=$1 release=$2 cc upstream

	cc=$(kernel_cc "$out/.config")
	upstream=$(in_root make -s -C "$KSRC" kernelversion)
	# Debian's BTF-only vmlinux would be taken for a target; it comes in later.
	in_root make -C "$KSRC" O="$out" -j"$JOBS" ARCH=x86 CC="$cc" \
		CROSS_COMPILE=x86_64-linux-gnu- LOCALVERSION="${release#"$upstream"}" \
		RUST_LIB_SRC="$(in_root sh -c 'echo /usr/src/rustc-*/library')" \
		olddefconfig modules_prepare
}

# Stops unless what was regenerated in $1 is what Debian's kernel was built with.
# Nothing else would notice: without MODVERSIONS a module that does not match
# loads and corrupts memory.
kernel_verify() {
	local out=$1 pkg=$2 headers=$3 ours theirs option

	[ "$(cat "$out/include/config/kernel.release")" = "$RELEASE" ] ||
		die "the prepared source calls itself $(cat "$out/include/config/kernel.release") and the kernel is $RELEASE: source and image of different versions; remove $KDIR and run this again."

	for option in CC_VERSION_TEXT RUSTC_VERSION_TEXT RUSTC_VERSION PAHOLE_VERSION; do
		ours=$(grep "^CONFIG_$option=" "$out/.config" || :)
		theirs=$(grep "^CONFIG_$option=" "$pkg/usr/lib/modules/$RELEASE/config" || :)
		[ "$ours" = "$theirs" ] ||
			die "Debian built $RELEASE with ${theirs#*=} and the build root has ${ours#*=}: its Rust symbols cannot match; remove $CACHE/roots to get the current tools."
	done

	cmp -s "$out/include/generated/asm-offsets.h" "$headers/include/generated/asm-offsets.h" ||
		die "asm-offsets.h of the prepared source differs from Debian's for $RELEASE: structures would not match; remove $KDIR and run this again."

	ours=$(grep -ho 'EXPORT_SYMBOL_RUST_GPL([^)]*)' "$out"/rust/exports_*_generated.h |
		sed -n 's/.*(\(_R.*\|rust_helper_.*\))/\1/p' | sort -u)
	theirs=$(awk '$3 == "vmlinux" && $2 ~ /^(_R|rust_helper_)/ { print $2 }' "$headers/Module.symvers" | sort -u)
	[ "${ours:-none}" = "$theirs" ] ||
		die "$(comm -3 <(echo "$ours") <(echo "$theirs") | wc -l) Rust symbols of the prepared source differ from those that $RELEASE exports: a module built here would corrupt it; remove $KDIR and run this again."
	echo "$ours" >"$out/afutex-symbols"
}

kernel_make_stock() {
	local pkg=$STOCK/pkg build=$STOCK/build headers

	[ ! -f "$STOCK/ready" ] || return 0
	kernel_make_source
	need_space 3 "the stock kernel"
	rm -rf "$STOCK"
	mkdir -p "$build"
	step image "downloading Debian's $RELEASE" kernel_unpack "$pkg" \
		"linux-base-$RELEASE" "linux-binary-$RELEASE" "linux-modules-$RELEASE" \
		"linux-headers-$RELEASE"

	cp "$pkg/usr/lib/modules/$RELEASE/config" "$build/.config"
	step prepare "regenerating its Rust metadata" kernel_prepare "$build" "$RELEASE"
	headers=$pkg/usr/src/linux-headers-$RELEASE
	kernel_verify "$build" "$pkg" "$headers"
	say "it matches: the $(wc -l <"$build/afutex-symbols") Rust symbols are those that $RELEASE exports"

	cp "$headers/Module.symvers" "$build/"
	[ ! -f "$headers/vmlinux" ] || cp "$headers/vmlinux" "$build/"
	cp "$pkg/usr/lib/modules/$RELEASE/vmlinuz" "$STOCK/vmlinuz"
	touch "$STOCK/ready"
}

# Makes the stock kernel: $STOCK/vmlinuz, $STOCK/build to build modules in, and
# $STOCK/pkg with what Debian ships.
kernel_stock() {
	kernel_resolve
	[ -f "$STOCK/ready" ] || locked "$CACHE/kernel" kernel_make_stock
	cache_used "$KDIR"
}

# LLVM=1, since Rust under KASAN needs clang.
kernel_debug_make() {
	in_root make -C "$KSRC" O="$DEBUG/build" -j"$JOBS" ARCH=x86 LLVM=1 \
		RUST_LIB_SRC="$(in_root sh -c 'echo /usr/src/rustc-*/library')" "$@"
}

kernel_configure_debug() {
	local build=$DEBUG/build option missing=

	# A fresh configuration each time; objects that it does not touch are kept.
	rm -f "$build/.config"
	kernel_debug_make tinyconfig
	in_root "$KSRC/scripts/kconfig/merge_config.sh" -m -O "$build" "$build/.config" \
		"$PROJECT/scripts/guest/debug.config" "$PROJECT/selftests/config"
	kernel_debug_make olddefconfig
	while read -r option; do
		grep -qxF "$option" "$build/.config" || missing+=" $option"
	done < <(grep -h '^CONFIG_' "$PROJECT/scripts/guest/debug.config" "$PROJECT/selftests/config")
	if [ -n "$missing" ]; then
		echo "the configuration did not take:$missing"
		return 1
	fi
}

kernel_make_debug() {
	[ ! -f "$DEBUG/ready" ] || return 0
	kernel_make_source
	cache_prune "$KDIR"/debug-*
	need_space 8 "the debug kernel"
	mkdir -p "$DEBUG/build"
	step debug-config "configuring the debug kernel" kernel_configure_debug
	step debug-build "building the debug kernel (some 15 minutes on 2 cores)" \
		kernel_debug_make bzImage modules
	cp "$DEBUG/build/arch/x86/boot/bzImage" "$DEBUG/vmlinuz"
	touch "$DEBUG/ready"
}

# Makes the debug kernel: $DEBUG/vmlinuz, and $DEBUG/build to build modules in.
kernel_debug() {
	root_ensure test
	kernel_resolve
	DEBUG=$KDIR/debug-$(key_of "$PROJECT/scripts/guest/debug.config" "$PROJECT/selftests/config")
	[ -f "$DEBUG/ready" ] || locked "$CACHE/kernel" kernel_make_debug
	cache_used "$DEBUG"
	cache_used "$KDIR"
}
