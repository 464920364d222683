# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The Debian 13 in which everything is built. It is the host itself where that is
# a Debian 13 with the packages, and otherwise a root of our own in the cache.

PACKAGES=(
	bc bindgen bison build-essential busybox-static ca-certificates cargo
	clang-19 cpio e2fsprogs flex gcc-multilib gnuplot-nox kmod libclang-19-dev
	libelf-dev libssl-dev liburing-dev linux-perf lld-19 llvm-19 pahole perl python3
	python3-docutils qemu-system-x86 rsync rust-clippy rust-src rustc rustfmt
	shellcheck spin stress-ng xz-utils
)

root_is_host() {
	[ -z "${AFUTEX_OWN_ROOT:-}" ] || return 1
	grep -q "^VERSION_CODENAME=$SUITE$" /etc/os-release 2>/dev/null || return 1
	dpkg -s "${PACKAGES[@]}" >/dev/null 2>&1 || return 1
	apt-cache policy 2>/dev/null | grep -q "n=$SUITE-backports"
}

# The mirror that apt on this host uses for Debian, if it is one.
root_mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' 'Label: Debian' 2>/dev/null | sort -u | head -n 1
}

# Runs a command in the root at $1, with the cache and the project at the paths
# that they have outside. The mounts end with the command.
root_enter() {
	local root=$1

	shift
	unshare --mount --propagation private bash -euc '
		root=$1 work=$2; shift 2
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount --rbind /sys "$root/sys"
		for dir in "$1" "$2"; do
			mkdir -p "$root$dir"
			mount --bind "$dir" "$root$dir"
		done
		shift 2
		cd /
		exec chroot "$root" /bin/bash -euc "cd \"\$1\"; shift; exec \"\$@\"" - "$work" "$@"
	' - "$root" "$PWD" "$PROJECT" "$CACHE" "$@"
}

root_make() {
	local root=$1 tmp=$1.part mirror conf

	[ ! -d "$root" ] || return 0
	[ "$(id -u)" -eq 0 ] ||
		die "there is no build root yet, and making one needs root rights: run this with sudo, or on a Debian 13 with backports run 'apt install ${PACKAGES[*]}'."
	if ! command -v debootstrap >/dev/null; then
		command -v apt-get >/dev/null ||
			die "debootstrap is missing: install it with your distribution's package manager."
		step debootstrap-install "installing debootstrap" \
			sh -c 'apt-get install -y debootstrap || { apt-get update && apt-get install -y debootstrap; }'
	fi
	need_space 6 "the build root"

	rm -rf "$tmp"
	mkdir -p "$CACHE/roots" "$CACHE/debs"
	mirror=$(root_mirror)
	# Where apt here has none of Debian's, debootstrap has its default.
	step root "making a Debian 13 root to build in" \
		debootstrap --variant=minbase --cache-dir="$CACHE/debs" "$SUITE" "$tmp" ${mirror:+"$mirror"}

	mirror=$(sed -n "s/^deb \([^ ]*\) $SUITE .*/\1/p" "$tmp/etc/apt/sources.list" | head -n 1)
	echo "deb $mirror $SUITE-backports main" >"$tmp/etc/apt/sources.list.d/backports.list"
	for conf in /etc/apt/apt.conf.d/*proxy*; do
		[ ! -f "$conf" ] || cp "$conf" "$tmp/etc/apt/apt.conf.d/"
	done
	cp -L /etc/resolv.conf "$tmp/etc/resolv.conf" 2>/dev/null || :
	printf 'Dir::Cache::Archives "%s/debs";\nAPT::Sandbox::User "root";\n' "$CACHE" \
		>"$tmp/etc/apt/apt.conf.d/50afutex"
	mkdir -p "$CACHE/debs/partial"
	step root-packages "installing compilers, QEMU and libraries in it" \
		root_enter "$tmp" sh -c '
			export DEBIAN_FRONTEND=noninteractive
			apt-get update
			apt-get install -y --no-install-recommends "$@"' - "${PACKAGES[@]}"
	# What this machine trusts: a proxy of its own may be on the way to the network.
	[ ! -f /etc/ssl/certs/ca-certificates.crt ] ||
		cp -L /etc/ssl/certs/ca-certificates.crt "$tmp/etc/ssl/certs/"
	mv "$tmp" "$root"
	# Roots of other package lists are of no more use.
	find "$CACHE/roots" -mindepth 1 -maxdepth 1 ! -path "$root" -exec rm -rf --one-file-system {} +
}

# Makes ROOT the path of a usable build root: empty where that is the host.
root_ensure() {
	if root_is_host; then
		ROOT=
		return
	fi
	ROOT=$CACHE/roots/$SUITE-$(key_of "${PACKAGES[@]}")
	[ -d "$ROOT" ] || locked root root_make "$ROOT"
	[ "$(id -u)" -eq 0 ] ||
		die "entering the build root in $CACHE needs root rights: run this with sudo."
}

# in_root COMMAND...: runs it where things are built.
in_root() {
	local path=/usr/lib/llvm-19/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

	if [ -z "$ROOT" ]; then
		env PATH="$path" "$@"
	else
		root_enter "$ROOT" env PATH="$path" TMPDIR=/tmp "$@"
	fi
}
