// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU that counts how often each instruction of the guest's kernel is
 * executed between two marks that a program of the guest sets (profile.h). For one
 * CPU. What is counted goes to the file that is given as out=FILE, as lines of an
 * address and a number; the program's own instructions are counted at 0.
 *
 * There is no package of the plugins' header, and only a few of its functions are
 * needed: they are declared here, as version 3 of the interface has them.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

#define VISIBLE	__attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;

struct counter {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
};

typedef void (*translated_t)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*executed_t)(unsigned int vcpu, void *data);

enum { INLINE_ADD = 0 };
enum { NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_t cb);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
							size_t idx);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t len);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed_t cb,
						   int flags, void *data);
extern void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn,
								int op, struct counter entry,
								uint64_t imm);
extern struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
extern void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int vcpu);

VISIBLE int qemu_plugin_version = 3;

/* Slots for addresses, found by hash; slot 0 is for the program. */
#define SLOTS	(4L << 20)

static uint64_t address[SLOTS], start[SLOTS], counted[SLOTS];
static struct qemu_plugin_scoreboard *score;
static const char *out;
static long used;

/* Kernel addresses are those of the upper half. */
static size_t slot_of(uint64_t addr)
{
	size_t at = addr * 0x9e3779b97f4a7c15ULL >> 42;

	if (!(addr >> 63))
		return 0;
	while (!at || (address[at] && address[at] != addr))
		at = (at + 1) % SLOTS;
	if (!address[at]) {
		if (++used > SLOTS / 2) {
			fprintf(stderr, "plugin: too many instructions\n");
			exit(1);
		}
		address[at] = addr;
	}
	return at;
}

static void on_start(unsigned int vcpu, void *data)
{
	memcpy(start, qemu_plugin_scoreboard_find(score, 0), sizeof(start));
}

static void on_end(unsigned int vcpu, void *data)
{
	const uint64_t *now = qemu_plugin_scoreboard_find(score, 0);
	FILE *f = fopen(out, "w");

	if (!f) {
		perror(out);
		exit(1);
	}
	for (size_t i = 0; i < SLOTS; i++) {
		counted[i] += now[i] - start[i];
		if (counted[i])
			fprintf(f, "%016" PRIx64 " %" PRIu64 "\n", address[i], counted[i]);
	}
	fclose(f);
}

static void on_translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	static const uint8_t on[] = { PROFILE_MARK_ON }, off[] = { PROFILE_MARK_OFF };

	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		size_t slot = slot_of(qemu_plugin_insn_vaddr(insn));
		struct counter counter = { score, slot * sizeof(uint64_t) };
		uint8_t data[sizeof(on)];

		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, INLINE_ADD, counter, 1);
		if (slot || qemu_plugin_insn_data(insn, data, sizeof(data)) != sizeof(data))
			continue;
		if (!memcmp(data, on, sizeof(on)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_start, NO_REGISTERS, NULL);
		if (!memcmp(data, off, sizeof(off)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_end, NO_REGISTERS, NULL);
	}
}

VISIBLE int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			out = argv[i] + 4;
	if (!out) {
		fprintf(stderr, "plugin: out=FILE is missing\n");
		return 1;
	}
	score = qemu_plugin_scoreboard_new(SLOTS * sizeof(uint64_t));
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
	return 0;
}
