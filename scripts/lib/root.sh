# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The Debian 13 in which everything is built. It is the host itself where that is
# a Debian 13 with the packages, and otherwise a root of our own in the cache.

# What building the module takes, what booting a guest takes, and what the tests, the
# debug kernel and the style take.
BUILD_PACKAGES=(
	bc bindgen bison build-essential ca-certificates cpio flex kmod libclang-19-dev
	libelf-dev libssl-dev pahole perl python3 rsync rust-src rustc xz-utils
)
GUEST_PACKAGES=(
	busybox-static e2fsprogs qemu-system-x86
)
TEST_PACKAGES=(
	cargo clang-19 gcc-multilib gnuplot-nox liburing-dev linux-perf lld-19 llvm-19 musl-tools
	python3-docutils rust-clippy rustfmt shellcheck spin stress-ng
)

# Sets PACKAGES to what is needed for one of: build, guest, test. Each includes those
# before it.
root_packages() {
	case $1 in
	build) PACKAGES=("${BUILD_PACKAGES[@]}") ;;
	guest) PACKAGES=("${BUILD_PACKAGES[@]}" "${GUEST_PACKAGES[@]}") ;;
	test) PACKAGES=("${BUILD_PACKAGES[@]}" "${GUEST_PACKAGES[@]}" "${TEST_PACKAGES[@]}") ;;
	esac
}

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

# Folders that a command in the root needs beside the project and the cache.
ROOT_BINDS=()

# Runs a command in the root at $1, with the cache and the project at the paths
# that they have outside. The mounts end with the command. The folder is the current
# one, if the root has it.
root_enter() {
	local root=$1

	shift
	unshare --mount --propagation private bash -euc '
		root=$1 work=$2 binds=$3; shift 3
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		mount --rbind /sys "$root/sys"
		while [ "$binds" -gt 0 ]; do
			mkdir -p "$root$1"
			mount --bind "$1" "$root$1"
			binds=$((binds - 1))
			shift
		done
		cd /
		exec chroot "$root" /bin/bash -euc "cd \"\$1\" 2>/dev/null || cd /; shift; exec \"\$@\"" - "$work" "$@"
	' - "$root" "$PWD" $((2 + ${#ROOT_BINDS[@]})) "$PROJECT" "$CACHE" "${ROOT_BINDS[@]}" "$@"
}

# What this machine trusts: a proxy of its own may be on the way to the network.
root_trust() {
	[ -f /etc/ssl/certs/ca-certificates.crt ] || return 0
	mkdir -p "$1/etc/ssl/certs"
	cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
}

# Installs packages in the root at $1.
root_install() {
	local root=$1

	shift
	root_trust "$root"
	mkdir -p "$CACHE/debs/partial"
	root_enter "$root" sh -c '
		export DEBIAN_FRONTEND=noninteractive
		archive=$1
		shift
		apt-get update
		apt-get -o Dir::Cache::Archives="$archive" -o APT::Sandbox::User=root \
			install -y --no-install-recommends "$@"' - "$CACHE/debs" "$@"
	root_trust "$root"
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
	cache_prune "$CACHE"/roots/*

	rm -rf --one-file-system "$tmp"
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
	step root-build "installing compilers in it" root_install "$tmp" "${BUILD_PACKAGES[@]}"
	mkdir -p "$tmp/var/lib/afutex"
	mv "$tmp" "$root"
}

# Adds to the root at $1 the packages of $2, whose list has the name $3. Packages are only
# ever added, so that checkouts with other lists can use the same root.
root_add() {
	local root=$1 stamp=$1/var/lib/afutex/$3 what

	[ ! -e "$stamp" ] || return 0
	case $2 in
	guest) what="installing QEMU in the build root" ;;
	test) what="installing what the tests take in the build root" ;;
	esac
	root_packages "$2"
	step "root-$2" "$what" root_install "$root" "${PACKAGES[@]}"
	touch "$stamp"
}

# Makes ROOT the path of a root with what is needed for $1, one of "build", "guest" and
# "test" (see root_packages): empty where that is the host.
root_ensure() {
	local name

	places_check
	root_packages "$1"
	if root_is_host; then
		ROOT=
		return
	fi
	ROOT=$CACHE/roots/$SUITE-$(key_of "${BUILD_PACKAGES[@]}")
	[ -d "$ROOT" ] || locked "$CACHE/root" root_make "$ROOT"
	[ "$(id -u)" -eq 0 ] ||
		die "entering the build root in $CACHE needs root rights: run this with sudo."
	if [ "$1" != build ]; then
		name=$1-$(key_of "${PACKAGES[@]}")
		[ -e "$ROOT/var/lib/afutex/$name" ] || locked "$CACHE/root" root_add "$ROOT" "$1" "$name"
	fi
	cache_used "$ROOT"
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
