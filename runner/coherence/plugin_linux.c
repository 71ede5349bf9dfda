// SPDX-License-Identifier: Apache-2.0
// libhzcoherence.so: a plug-in of QEMU's user mode that counts the cache lines that travel between the threads of a
// program, for any binary, on any host. QEMU tells it each memory access; schedule.c decides whose turn it is,
// directory.c which line moves, memory_map.c what lies there. scripts/coherence starts it and reads its JSON.
//
//   qemu-x86_64 -plugin libhzcoherence.so,out=FILE[,quantum=100][,seed=1][,processors=N][,code=NAME[:FIRST-END]]
//   program arguments
//
// `code` names the object file of the allocator (the end of its path) and, where only a part of the file is the
// allocator's (the C library), the file's own addresses of that part in hexadecimal. Layer: runner, an instrument of
// its own.
#include "directory.h"
#include "machine.h"
#include "memory_map.h"
#include "qemu_plugin.h"
#include "schedule.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CLONE_CHILD_CLEARTID_FLAG 0x200000u
#define DEFAULT_QUANTUM 100u
#define REPORTED_SITES 400u
#define REPORTED_LINES 40u
#define SITE_TABLE_BITS 18u

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_INTERFACE_VERSION;

static struct {
    char out[PATH_MAX];
    char code[256];                // "": there is no allocator to tell apart
    uint64_t code_first, code_end; // the file's own addresses
    uint32_t quantum;
    uint64_t seed;
    unsigned processors; // that the program sees; 0: the host's
    pid_t process;
} options = {.code_end = UINT64_MAX, .quantum = DEFAULT_QUANTUM, .seed = 1};

// ---- places in the code --------------------------------------------------------------------------------------------

struct site_node {
    struct directory_site site; // first: the directory hands it back
    struct site_node *next;
};

// What runs when a block does.
struct block {
    uint32_t instructions;
    uint8_t code;       // enum directory_code
    uint8_t is_library; // of the C library, but not the allocator: who called it is not known from here
};

static struct site_node *sites[1u << SITE_TABLE_BITS];
static size_t site_count;

// What a thread is doing, for the owner of what it maps.
static struct {
    uint8_t counts;    // its accesses do
    uint8_t last_code; // of the last block that was not the C library's
    uint64_t mapping_address, mapping_bytes;
    uint64_t wakes;       // of the system call that it is in: how many threads
    uint64_t deadline_ns; // of the wait that it is in, in emulated time; UINT64_MAX: none
    uint64_t ends_word;   // is 0 when the thread has ended: whoever joins it waits there
} threads[SCHEDULE_MAX_THREADS];

static uint64_t next_ends_word; // of the thread that is about to be born

static void *reserve(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (memory == NULL) {
        fputs("hzcoherence: out of memory for the places in the code; measure a smaller program\n", stderr);
        exit(3);
    }
    return memory;
}

static int ends_with(const char *text, const char *ending) {
    size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

static int is_allocators(const struct memory_object *object) {
    return *options.code != '\0' && ends_with(object->path, options.code);
}

static enum directory_code code_at(uint64_t address, int *is_library) {
    const struct memory_object *object = memory_object_at(address);
    *is_library = 0;
    if (object == NULL)
        return DIRECTORY_CODE_OTHER;
    uint64_t own = address - object->base;
    if (is_allocators(object) && own >= options.code_first && own < options.code_end)
        return DIRECTORY_CODE_ALLOCATOR;
    *is_library = strstr(object->path, "/libc.so.6") != NULL || strstr(object->path, "/ld-linux") != NULL;
    return DIRECTORY_CODE_OTHER;
}

// An instruction that locks the bus: the prefix, or an exchange with memory.
static int is_locked(const struct qemu_plugin_insn *instruction) {
    const uint8_t *bytes = qemu_plugin_insn_data(instruction);
    size_t count = qemu_plugin_insn_size(instruction);
    size_t at = 0;
    while (at < count &&
           (bytes[at] == 0x66 || bytes[at] == 0xf2 || bytes[at] == 0xf3 || bytes[at] == 0x2e || bytes[at] == 0x36 ||
            bytes[at] == 0x3e || bytes[at] == 0x26 || bytes[at] == 0x64 || bytes[at] == 0x65))
        at++;
    if (at < count && bytes[at] == 0xf0)
        return 1;
    if (at < count && (bytes[at] & 0xf0) == 0x40)
        at++;
    return at + 1 < count && (bytes[at] == 0x86 || bytes[at] == 0x87) && bytes[at + 1] < 0xc0;
}

static struct directory_site *site_at(const struct qemu_plugin_insn *instruction, enum directory_code code) {
    uint64_t address = qemu_plugin_insn_vaddr(instruction);
    struct site_node **slot = &sites[address * 0x9e3779b97f4a7c15u >> (64 - SITE_TABLE_BITS)];
    for (struct site_node *node = *slot; node != NULL; node = node->next)
        if (node->site.address == address && node->site.code == code)
            return &node->site;
    struct site_node *node = reserve(sizeof *node);
    node->site =
        (struct directory_site){.address = address, .code = code, .is_locked = (uint8_t)is_locked(instruction)};
    node->next = *slot;
    *slot = node;
    site_count++;
    return &node->site;
}

// ---- what the emulator tells ---------------------------------------------------------------------------------------

static void on_block(unsigned thread, void *data) {
    const struct block *block = data;
    threads[thread].counts = (uint8_t)schedule_run(thread, block->instructions);
    if (!block->is_library)
        threads[thread].last_code = block->code;
}

static void on_access(unsigned thread, qemu_plugin_memory access, uint64_t address, void *site) {
    if (threads[thread].counts)
        directory_access(thread, address, 1u << qemu_plugin_mem_size_shift(access), qemu_plugin_mem_is_store(access),
                         site);
}

static void on_translation(qemu_plugin_id id, struct qemu_plugin_tb *translated) {
    (void)id;
    struct block *block = reserve(sizeof *block);
    int is_library;
    enum directory_code code = code_at(qemu_plugin_tb_vaddr(translated), &is_library);
    block->instructions = (uint32_t)qemu_plugin_tb_n_insns(translated);
    block->code = (uint8_t)code;
    block->is_library = (uint8_t)is_library;
    qemu_plugin_register_vcpu_tb_exec_cb(translated, on_block, QEMU_PLUGIN_NO_REGISTERS, block);
    for (size_t i = 0; i < block->instructions; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(translated, i);
        qemu_plugin_register_vcpu_mem_cb(instruction, on_access, QEMU_PLUGIN_NO_REGISTERS, QEMU_PLUGIN_READ_WRITE,
                                         site_at(instruction, code));
    }
}

static void on_birth(qemu_plugin_id id, unsigned thread) {
    (void)id;
    if (thread >= SCHEDULE_MAX_THREADS) {
        fprintf(stderr, "hzcoherence: more than %u threads; measure fewer\n", SCHEDULE_MAX_THREADS);
        exit(3);
    }
    threads[thread].ends_word = next_ends_word;
    schedule_born(thread);
}

static void on_death(qemu_plugin_id id, unsigned thread) {
    (void)id;
    schedule_gone(thread, 0);
}

// ---- sums ----------------------------------------------------------------------------------------------------------

enum data_kind { DATA_USER, DATA_METADATA, DATA_OTHER, DATA_KIND_COUNT };

static struct directory_counts sums[DIRECTORY_CODE_COUNT][DATA_KIND_COUNT];

// Memory that the allocator mapped is the user's where other code has touched the line, and its own where none has.
// What lies in the allocator's own file is its own.
static enum data_kind kind_of(const struct directory_line *line) {
    const struct memory_object *object = memory_object_at(line->address);
    if (object != NULL && is_allocators(object) && options.code_end == UINT64_MAX)
        return DATA_METADATA;
    if (object != NULL || !memory_region_is_allocators(line->address))
        return DATA_OTHER;
    return (line->touched & 1u << DIRECTORY_CODE_OTHER) != 0 ? DATA_USER : DATA_METADATA;
}

static void fold_line(const struct directory_line *line) {
    if (line->touched == 0)
        return;
    enum data_kind kind = kind_of(line);
    for (int code = 0; code < DIRECTORY_CODE_COUNT; code++)
        directory_add(&sums[code][kind], &line->counts[code]);
}

// ---- system calls --------------------------------------------------------------------------------------------------

enum call_kind { CALL_PLAIN, CALL_YIELDS, CALL_WAITS, CALL_STOPS_ALL, CALL_ENDS_THREAD, CALL_ENDS_ALL };

static enum call_kind kind_of_call(int64_t number, uint64_t first, uint64_t second) {
    switch (number) {
    case SYS_sched_yield:
        return CALL_YIELDS;
    case SYS_futex: {
        uint64_t operation = second & FUTEX_CMD_MASK;
        return operation == FUTEX_WAIT || operation == FUTEX_LOCK_PI || operation == FUTEX_WAIT_BITSET ||
                       operation == FUTEX_WAIT_REQUEUE_PI || operation == FUTEX_LOCK_PI2
                   ? CALL_WAITS
                   : CALL_PLAIN;
    }
    case SYS_read:
    case SYS_readv:
    case SYS_write:
    case SYS_writev:
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigtimedwait:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_flock:
    case SYS_fcntl:
    case SYS_fsync:
        return CALL_WAITS;
    case SYS_fork:
    case SYS_vfork:
        return CALL_STOPS_ALL;
    case SYS_clone:
        return (first & 0x100) != 0 ? CALL_PLAIN : CALL_STOPS_ALL; // CLONE_VM: a thread
    case SYS_exit:
        return CALL_ENDS_THREAD;
    case SYS_exit_group:
        return CALL_ENDS_ALL;
    default:
        return CALL_PLAIN;
    }
}

// How many threads an operation of a futex wakes at most.
static uint64_t woken_by(uint64_t second, uint64_t count) {
    uint64_t operation = second & FUTEX_CMD_MASK;
    if (operation == FUTEX_UNLOCK_PI)
        return 1;
    return operation == FUTEX_WAKE || operation == FUTEX_WAKE_BITSET ? count : 0;
}

// When, in emulated time, the wait ends that a thread is about to begin. The program's memory lies where it says.
static uint64_t deadline_of(int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4) {
    uint64_t at = number == SYS_nanosleep ? a1 : number == SYS_clock_nanosleep ? a3 : a4;
    uint64_t operation = a2 & FUTEX_CMD_MASK;
    int is_absolute =
        number == SYS_futex ? operation != FUTEX_WAIT : number == SYS_clock_nanosleep && (a2 & TIMER_ABSTIME) != 0;
    int is_real =
        number == SYS_futex ? (a2 & FUTEX_CLOCK_REALTIME) != 0 || operation == FUTEX_LOCK_PI : a1 == CLOCK_REALTIME;
    if (at == 0 || (number != SYS_futex && number != SYS_nanosleep && number != SYS_clock_nanosleep))
        return UINT64_MAX;
    const struct timespec *time = (const struct timespec *)(uintptr_t)at;
    uint64_t ns = (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
    if (!is_absolute)
        return schedule_time_ns() + ns;
    uint64_t base = is_real ? MACHINE_REAL_BASE_NS : MACHINE_MONOTONIC_BASE_NS;
    return ns > base ? ns - base : 0;
}

static void on_call(qemu_plugin_id id, unsigned thread, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                    uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)a5, (void)a6, (void)a7, (void)a8;
    threads[thread].mapping_address = a1;
    threads[thread].mapping_bytes = a2;
    machine_serve(thread, number);
    if (number == SYS_set_tid_address)
        threads[thread].ends_word = a1;
    if (number == SYS_clone && (a1 & CLONE_CHILD_CLEARTID_FLAG) != 0)
        next_ends_word = a4;
    threads[thread].wakes = number == SYS_futex && threads[thread].counts ? woken_by(a2, a3) : 0;
    if (threads[thread].wakes > 0)
        schedule_wake(a1, threads[thread].wakes);
    if (threads[thread].counts && (number == SYS_munmap || (number == SYS_madvise && a3 == MADV_DONTNEED)))
        directory_forget(a1, a2, fold_line);
    switch (kind_of_call(number, a1, a2)) {
    case CALL_YIELDS:
        schedule_yield(thread);
        break;
    case CALL_WAITS:
        threads[thread].deadline_ns = deadline_of(number, a1, a2, a3, a4);
        schedule_wait(thread, number, number == SYS_futex ? a1 : 0);
        break;
    case CALL_STOPS_ALL:
    case CALL_ENDS_ALL:
        schedule_suspend();
        break;
    case CALL_ENDS_THREAD:
        schedule_gone(thread, threads[thread].ends_word);
        break;
    case CALL_PLAIN:
        break;
    }
}

static void note_mapping(unsigned thread, int64_t number, int64_t result) {
    static uint64_t break_end;
    int by_allocator = threads[thread].last_code == DIRECTORY_CODE_ALLOCATOR;
    if (result < 0 && result > -4096)
        return;
    if (number == SYS_mmap) {
        memory_objects_changed();
        memory_region_add((uint64_t)result, threads[thread].mapping_bytes, by_allocator);
    } else if (number == SYS_brk) {
        if (break_end != 0 && (uint64_t)result > break_end)
            memory_region_add(break_end, (uint64_t)result - break_end, by_allocator);
        break_end = (uint64_t)result;
    }
}

static void end_wait(unsigned thread, int64_t number, int64_t result) {
    uint64_t deadline = threads[thread].deadline_ns;
    if (deadline != UINT64_MAX && (result == 0 || (number == SYS_futex && result == -ETIMEDOUT)))
        schedule_sleep_until(thread, deadline);
    else
        schedule_continue(thread);
}

static void on_return(qemu_plugin_id id, unsigned thread, int64_t number, int64_t result) {
    (void)id;
    machine_serve(thread, MACHINE_NO_CALL);
    if (number == SYS_futex && threads[thread].wakes > 0)
        schedule_woken(threads[thread].mapping_address);
    switch (kind_of_call(number, threads[thread].mapping_address, threads[thread].mapping_bytes)) {
    case CALL_WAITS:
        end_wait(thread, number, result);
        break;
    case CALL_STOPS_ALL:
        if (getpid() != options.process && result == 0)
            schedule_after_fork(thread);
        else
            schedule_resume();
        break;
    default:
        note_mapping(thread, number, result);
        break;
    }
}

// ---- the report ----------------------------------------------------------------------------------------------------

static json_t *counts_json(const struct directory_counts *counts) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "from_modified", (json_int_t)counts->from_modified,
                     "from_clean", (json_int_t)counts->from_clean, "for_ownership", (json_int_t)counts->for_ownership,
                     "upgrades", (json_int_t)counts->upgrades, "invalidations", (json_int_t)counts->invalidations,
                     "false_shared", (json_int_t)counts->false_shared, "atomics", (json_int_t)counts->atomics);
}

static json_t *objects_json(void) {
    json_t *list = json_array();
    for (unsigned i = 0; i < memory_object_count(); i++) {
        const struct memory_object *object = memory_object(i);
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "path", object->path, "base", (json_int_t)object->base,
                                              "end", (json_int_t)object->end));
    }
    return list;
}

// The largest `room` of what is offered, largest first.
struct ranking {
    const void **entries;
    uint64_t *keys;
    unsigned count, room;
};

static void offer(struct ranking *ranking, const void *entry, uint64_t key) {
    if (key == 0 || (ranking->count == ranking->room && key <= ranking->keys[ranking->count - 1]))
        return;
    unsigned at = ranking->count < ranking->room ? ranking->count++ : ranking->count - 1;
    for (; at > 0 && ranking->keys[at - 1] < key; at--) {
        ranking->keys[at] = ranking->keys[at - 1];
        ranking->entries[at] = ranking->entries[at - 1];
    }
    ranking->keys[at] = key;
    ranking->entries[at] = entry;
}

static const void *top_site_entries[REPORTED_SITES];
static uint64_t top_site_keys[REPORTED_SITES];
static struct ranking top_sites = {top_site_entries, top_site_keys, 0, REPORTED_SITES};
static const void *top_line_entries[REPORTED_LINES];
static uint64_t top_line_keys[REPORTED_LINES];
static struct ranking top_lines = {top_line_entries, top_line_keys, 0, REPORTED_LINES};

static struct directory_counts sum_of(const struct directory_line *line) {
    struct directory_counts sum = {0};
    for (int code = 0; code < DIRECTORY_CODE_COUNT; code++)
        directory_add(&sum, &line->counts[code]);
    return sum;
}

static void visit_line(const struct directory_line *line) {
    fold_line(line);
    struct directory_counts sum = sum_of(line);
    offer(&top_lines, line, directory_moves(&sum) + sum.upgrades);
}

static json_t *matrix_json(void) {
    static const char *const codes[] = {"other", "allocator"};
    static const char *const kinds[] = {"user", "metadata", "other"};
    json_t *matrix = json_object();
    for (int code = 0; code < DIRECTORY_CODE_COUNT; code++) {
        json_t *row = json_object();
        for (int kind = 0; kind < DATA_KIND_COUNT; kind++)
            json_object_set_new(row, kinds[kind], counts_json(&sums[code][kind]));
        json_object_set_new(matrix, codes[code], row);
    }
    return matrix;
}

static json_t *sites_json(void) {
    for (size_t i = 0; i < (size_t)1 << SITE_TABLE_BITS; i++)
        for (const struct site_node *node = sites[i]; node != NULL; node = node->next)
            offer(&top_sites, &node->site,
                  directory_moves(&node->site.counts) + node->site.counts.upgrades + node->site.counts.atomics);
    json_t *list = json_array();
    for (unsigned i = 0; i < top_sites.count; i++) {
        const struct directory_site *site = top_sites.entries[i];
        json_t *entry = counts_json(&site->counts);
        json_object_set_new(entry, "is_allocator", json_boolean(site->code == DIRECTORY_CODE_ALLOCATOR));
        json_object_set_new(entry, "address", json_integer((json_int_t)site->address));
        json_array_append_new(list, entry);
    }
    return list;
}

static json_t *lines_json(void) {
    static const char *const kinds[] = {"user", "metadata", "other"};
    json_t *list = json_array();
    for (unsigned i = 0; i < top_lines.count; i++) {
        const struct directory_line *line = top_lines.entries[i];
        struct directory_counts sum = sum_of(line);
        json_t *entry = counts_json(&sum);
        json_object_set_new(entry, "address", json_integer((json_int_t)line->address));
        json_object_set_new(entry, "kind", json_string(kinds[kind_of(line)]));
        if (line->last_site != NULL)
            json_object_set_new(entry, "last_site", json_integer((json_int_t)line->last_site->address));
        json_array_append_new(list, entry);
    }
    return list;
}

static void on_exit_of_program(qemu_plugin_id id, void *data) {
    (void)id, (void)data;
    if (getpid() != options.process)
        return; // a child that the program forked: its own report would overwrite its parent's
    directory_walk(visit_line);
    uint64_t instructions = 0;
    for (unsigned i = 0; i < SCHEDULE_MAX_THREADS; i++)
        instructions += schedule_instructions(i);
    json_t *report =
        json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "version", 1, "quantum", (int)options.quantum,
                  "seed", (json_int_t)options.seed, "instructions", (json_int_t)instructions, "turns",
                  (json_int_t)schedule_turns(), "threads", (json_int_t)schedule_thread_count(), "objects",
                  objects_json(), "moves", matrix_json(), "sites", sites_json(), "lines", lines_json());
    if (report == NULL || json_dump_file(report, options.out, JSON_INDENT(1)) != 0)
        fprintf(stderr, "hzcoherence: cannot write %s: no result\n", options.out);
    json_decref(report);
}

// ---- start ---------------------------------------------------------------------------------------------------------

static int set_option(const char *argument) {
    const char *value = strchr(argument, '=');
    size_t length = value != NULL ? (size_t)(value - argument) : strlen(argument);
    value = value != NULL ? value + 1 : "";
    char *end = NULL;
    if (length == 3 && strncmp(argument, "out", 3) == 0)
        return snprintf(options.out, sizeof options.out, "%s", value) < (int)sizeof options.out;
    if (length == 7 && strncmp(argument, "quantum", 7) == 0) {
        options.quantum = (uint32_t)strtoul(value, &end, 10);
        return *end == '\0' && options.quantum >= 2;
    }
    if (length == 4 && strncmp(argument, "seed", 4) == 0) {
        options.seed = strtoull(value, &end, 10);
        return *end == '\0' && end != value;
    }
    if (length == 10 && strncmp(argument, "processors", 10) == 0) {
        options.processors = (unsigned)strtoul(value, &end, 10);
        return *end == '\0' && end != value && options.processors <= SCHEDULE_MAX_THREADS;
    }
    if (length != 4 || strncmp(argument, "code", 4) != 0)
        return 0;
    snprintf(options.code, sizeof options.code, "%s", value);
    char *colon = strchr(options.code, ':');
    if (colon == NULL)
        return 1;
    *colon = '\0';
    options.code_first = strtoull(colon + 1, &end, 16);
    if (*end != '-')
        return 0;
    options.code_end = strtoull(end + 1, &end, 16);
    return *end == '\0';
}

int qemu_plugin_install(qemu_plugin_id id, const struct qemu_plugin_info *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!set_option(argv[i])) {
            fprintf(stderr,
                    "hzcoherence: bad option '%s' (out=FILE, quantum=N from 2, seed=N, processors=N, "
                    "code=NAME[:FIRST-END])\n",
                    argv[i]);
            return 2;
        }
    if (*options.out == '\0') {
        fputs("hzcoherence: out=FILE is missing: where does the report go?\n", stderr);
        return 2;
    }
    options.process = getpid();
    schedule_begin(options.quantum, options.seed);
    machine_begin(options.processors, options.seed);
    qemu_plugin_register_vcpu_init_cb(id, on_birth);
    qemu_plugin_register_vcpu_exit_cb(id, on_death);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, on_return);
    qemu_plugin_register_atexit_cb(id, on_exit_of_program, NULL);
    return 0;
}
