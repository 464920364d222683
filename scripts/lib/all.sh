# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the commands share. To be sourced by bash, with "set -euo pipefail" in force;
# it only defines functions and variables, and makes the folder of the logs.

. "${BASH_SOURCE[0]%/*}/common.sh"
. "${BASH_SOURCE[0]%/*}/root.sh"
. "${BASH_SOURCE[0]%/*}/kernel.sh"
. "${BASH_SOURCE[0]%/*}/module.sh"
. "${BASH_SOURCE[0]%/*}/initramfs.sh"
. "${BASH_SOURCE[0]%/*}/installed.sh"
. "${BASH_SOURCE[0]%/*}/results.sh"
. "${BASH_SOURCE[0]%/*}/bench.sh"
. "${BASH_SOURCE[0]%/*}/bench-doc.sh"
