# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Packs what a guest boots into: busybox, scripts/guest/init, the module, and
# programs of the host with their libraries.

# Starts a new one below the folder $1.
initramfs_new() {
	INITRAMFS=$1/initramfs
	TREE=$1/tree
	mkdir -p "$TREE"/{bin,sbin,dev,proc,sys,tmp,etc,root,run,mnt/ext4,lib/modules}
	in_root cat /usr/bin/busybox >"$TREE/bin/busybox"
	chmod +x "$TREE/bin/busybox"
	ln -s busybox "$TREE/bin/sh"
	cp "$PROJECT/scripts/guest/init" "$TREE/init"
	cp "$PROJECT/scripts/guest/splats" "$TREE/splats"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$TREE/etc/passwd"
	echo 'root:x:0:' >"$TREE/etc/group"
	if [ ! -f "$CACHE/ext4.img" ]; then
		truncate -s 16M "$CACHE/ext4.img.part"
		in_root mkfs.ext4 -q -O ^has_journal "$CACHE/ext4.img.part"
		mv "$CACHE/ext4.img.part" "$CACHE/ext4.img"
	fi
	cp --sparse=always "$CACHE/ext4.img" "$TREE/ext4.img"
}

# Adds the file $1 at the path $2.
initramfs_add() {
	mkdir -p "$TREE/$(dirname "$2")"
	cp -aL "$1" "$TREE/$2"
}

# Adds the module of Debian's kernel that the tests need, if it is one there.
initramfs_kernel_modules() {
	local path

	[ "$KERNEL" = stock ] || [ "$KERNEL" = rt ] || return 0
	path=$(find "$STOCK/pkg/usr/lib/modules/$RELEASE" -name 'loop.ko*' | head -n 1)
	case $path in
	'') ;;
	*.xz) in_root xz -dc "$path" >"$TREE/lib/modules/loop.ko" ;;
	*) cp "$path" "$TREE/lib/modules/" ;;
	esac
}

# The absolute path of a program, which may be found in PATH.
initramfs_path() {
	local path

	path=$(command -v "$1") || path=$1
	[ -e "$path" ] || die "there is no program $1 to run in the guest."
	realpath "$path"
}

# Where a path of the host is in the guest: what is in the build root is where it
# is there.
guest_path() {
	if [ -n "$ROOT" ]; then echo "${1#"$ROOT"}"; else echo "$1"; fi
}

# The shared libraries that a program needs, by ldd as run by the rest of the
# arguments. A static program needs none.
libraries_of() {
	local program=$1

	shift
	"$@" ldd "$program" 2>&1 | sed -n 's/.*\(=>\|^\)[[:space:]]*\(\/[^ ]*\) (.*/\2/p'
}

# Adds programs, with the libraries that they need: the host's, or, where those
# do not do, those of the build root.
initramfs_programs() {
	local path list=() prefix='' library run=()

	for path; do
		path=$(realpath "$path")
		if [ -d "$path" ]; then
			mkdir -p "$TREE$(guest_path "$path")"
			cp -a "$path/." "$TREE$(guest_path "$path")/"
			continue
		fi
		initramfs_add "$path" "$(guest_path "$path")"
		list+=("$path")
		if [ "$(guest_path "$path")" != "$path" ] || ldd "$path" 2>&1 | grep -q 'not found'; then
			prefix=$ROOT run=(in_root)
		fi
	done

	for path in "${list[@]}"; do
		head -c 4 "$path" | grep -q ELF || continue
		while read -r library; do
			[ -e "$TREE$library" ] || initramfs_add "$prefix$library" "$library"
		done < <(libraries_of "$(if [ -n "$prefix" ]; then guest_path "$path"; else echo "$path"; fi)" "${run[@]}")
	done
}

# Sets what the guest is to run.
initramfs_command() {
	printf '%q ' "$@" >"$TREE/command"
}

initramfs_close() {
	(cd "$TREE" && find . | in_root cpio --quiet -o -H newc) | gzip -1 >"$INITRAMFS"
	rm -rf "$TREE"
}

# guest_splat LOG LINES: prints the first report of the kernel in a log, LINES of it, if
# there is one. guest/splats lists what a report has, a regular expression a line. The
# notice that GUP no longer grows the stack, with its trace, is no report.
guest_splat() {
	tr -d '\r' <"$1" | sed '/GUP no longer grows the stack/,/<\/TASK>/d' |
		grep -E -m 1 -A $(($2 - 1)) -f "$PROJECT/scripts/guest/splats" || :
}

# Prints where Python is, and the folder of its library: for vm --file.
python_files() {
	in_root python3 -c 'import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))' |
		sed "s|^|$ROOT|"
}
