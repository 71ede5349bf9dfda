// SPDX-License-Identifier: Apache-2.0
// What the coherence plug-in calls of QEMU's plug-in interface, version 1. Debian's qemu-user accepts plug-ins but
// ships no header, so the few functions used here are declared from the interface's public description
// (https://www.qemu.org/docs/master/devel/tcg-plugins.html). Layer: runner, the coherence instrument only.
#ifndef HZBENCH_QEMU_PLUGIN_H
#define HZBENCH_QEMU_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QEMU_PLUGIN_EXPORT __attribute__((visibility("default")))
#define QEMU_PLUGIN_INTERFACE_VERSION 1

typedef uint64_t qemu_plugin_id;     // which loaded plug-in
typedef uint32_t qemu_plugin_memory; // one memory access, as its callback gets it

struct qemu_plugin_tb;   // a block of instructions that QEMU translates and runs as a whole
struct qemu_plugin_insn; // an instruction of such a block
struct qemu_plugin_info; // about the machine that is emulated

enum qemu_plugin_registers { QEMU_PLUGIN_NO_REGISTERS, QEMU_PLUGIN_READ_REGISTERS, QEMU_PLUGIN_WRITE_REGISTERS };
enum qemu_plugin_access { QEMU_PLUGIN_READ = 1, QEMU_PLUGIN_WRITE, QEMU_PLUGIN_READ_WRITE };

void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id id, void (*callback)(qemu_plugin_id, unsigned vcpu));
void qemu_plugin_register_vcpu_exit_cb(qemu_plugin_id id, void (*callback)(qemu_plugin_id, unsigned vcpu));
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id id,
                                           void (*callback)(qemu_plugin_id, struct qemu_plugin_tb *block));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, void (*callback)(unsigned vcpu, void *data),
                                          enum qemu_plugin_registers registers, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction,
                                      void (*callback)(unsigned vcpu, qemu_plugin_memory access, uint64_t address,
                                                       void *data),
                                      enum qemu_plugin_registers registers, enum qemu_plugin_access which, void *data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id id,
                                          void (*callback)(qemu_plugin_id, unsigned vcpu, int64_t number, uint64_t,
                                                           uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                           uint64_t));
void qemu_plugin_register_vcpu_syscall_ret_cb(qemu_plugin_id id, void (*callback)(qemu_plugin_id, unsigned vcpu,
                                                                                  int64_t number, int64_t result));
void qemu_plugin_register_atexit_cb(qemu_plugin_id id, void (*callback)(qemu_plugin_id, void *data), void *data);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_memory access); // log2 of the bytes accessed
bool qemu_plugin_mem_is_store(qemu_plugin_memory access);       // also true for a read and write in one instruction

// What QEMU looks for in a plug-in.
QEMU_PLUGIN_EXPORT extern int qemu_plugin_version;
QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id id, const struct qemu_plugin_info *info, int argc,
                                           char **argv);

#endif
