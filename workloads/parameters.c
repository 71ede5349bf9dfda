// SPDX-License-Identifier: Apache-2.0
// parameters.h
#include "parameters.h"

#include "registry.h"

#include <string.h>

#define MAX_OPS (UINT64_C(1) << 40) // hours; also keeps every product below 2^64
#define MAX_DURATION_NS (UINT64_C(1) << 62)
#define MAX_WORKING_SET (UINT64_C(1) << 30)  // slots a thread: 30 bits of an event
#define MAX_OBJECT_BYTES (UINT64_C(1) << 30) // sizes are kept in 32 bits
#define MAX_ROUNDS (1u << 20)
#define MAX_SEED (UINT64_C(1) << 63) // no reader of the CSV meets an integer it cannot hold
#define MAX_LIMIT_BYTES (UINT64_C(1) << 50)
#define MAX_BATCH 64u // the smallest ring
#define ALL_PPM 1000000u

static const char *const topologies[] = {"ring", "pairs", "all", "fan-in", "fan-out"};
static const char *const distributions[] = {"uniform", "log-uniform"};
static const char *const touches[] = {"none", "ends", "all"};
static const char *const receivers[] = {"reads", "frees"};
static const char *const frees[] = {"warm", "cold"};
static const char *const settle_works[] = {"none", "light"};
static const char *const thps[] = {"default", "never", "madvise", "always"};
static const char *const ages[] = {"none", "churn", "holes", "drift"};

_Static_assert(sizeof thps / sizeof thps[0] == THP_COUNT, "a name a setting of huge pages");
_Static_assert(sizeof ages / sizeof ages[0] == AGE_COUNT, "a name a kind of ageing");
_Static_assert(sizeof receivers / sizeof receivers[0] == RECEIVER_COUNT, "a name a receiver");
_Static_assert(sizeof frees / sizeof frees[0] == FREE_COUNT, "a name a kind of free");
_Static_assert(sizeof settle_works / sizeof settle_works[0] == SETTLE_WORK_COUNT, "a name a kind of work");
_Static_assert(sizeof topologies / sizeof topologies[0] == TOPOLOGY_COUNT, "a name a topology");

#define FIELD(member)                                                                                                  \
    .field_bytes = sizeof(((struct workload_params *)0)->member), .offset = offsetof(struct workload_params, member)
#define NAMES(list) .names = (list), .most = sizeof(list) / sizeof((list)[0]) - 1

const struct parameter parameters[] = {
    {.name = "threads",
     .column = "threads",
     .kind = PARAMETER_COUNT,
     .source = PARAMETER_PLAN,
     FIELD(threads),
     .least = 1,
     .most = WORKLOAD_MAX_THREADS,
     .meaning = "how many run the workload"},
    {.name = "seed",
     .column = "seed",
     .kind = PARAMETER_COUNT,
     .source = PARAMETER_PLAN,
     FIELD(seed),
     .most = MAX_SEED,
     .meaning = "of the events: of the run's seed and the round, equal for all allocators of a round"},
    {.name = "ops",
     .column = "ops_per_thread",
     .kind = PARAMETER_COUNT,
     FIELD(ops),
     .least = 1,
     .most = MAX_OPS,
     .value = "N",
     .help = "objects each thread allocates, 500000 or 500k or 2M"},
    {.name = "duration",
     .column = "duration_ns",
     .kind = PARAMETER_TIME,
     .uses = WORKLOAD_USES_DURATION,
     FIELD(duration_ns),
     .most = MAX_DURATION_NS,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "TIME",
     .help = "run so long instead of a fixed amount of work (no hash)",
     .meaning = "0: a fixed amount of work; otherwise how long it ran instead"},
    {.name = "remote",
     .column = "remote_ppm",
     .kind = PARAMETER_SHARE,
     .uses = WORKLOAD_USES_REMOTE,
     FIELD(remote_ppm),
     .most = ALL_PPM,
     .value = "SHARE",
     .help = "of frees done by another thread, 90%"},
    {.name = "topology",
     .column = "topology",
     .kind = PARAMETER_NAME,
     .uses = WORKLOAD_USES_TOPOLOGY,
     FIELD(topology),
     NAMES(topologies),
     .value = "LIST",
     .help = "who frees: ring, pairs, all, fan-in, fan-out",
     .meaning = "who frees what is handed over: ring, pairs, all, fan-in, fan-out"},
    {.name = "sizes",
     .column = "min_bytes",
     .kind = PARAMETER_BYTES,
     .uses = WORKLOAD_USES_SIZES,
     FIELD(min_bytes),
     .least = 1,
     .most = MAX_OBJECT_BYTES,
     .value = "MIN..MAX",
     .help = "of the objects: 16..2048, 16..64KiB, or one size",
     .meaning = "smallest object"},
    {.name = "sizes",
     .column = "max_bytes",
     .kind = PARAMETER_BYTES,
     .source = PARAMETER_UPPER,
     .uses = WORKLOAD_USES_SIZES,
     FIELD(max_bytes),
     .least = 1,
     .most = MAX_OBJECT_BYTES,
     .meaning = "largest object"},
    {.name = "size-distribution",
     .column = "sizes",
     .kind = PARAMETER_NAME,
     .uses = WORKLOAD_USES_SIZES,
     FIELD(sizes),
     NAMES(distributions),
     .tell = PARAMETER_TELL_CHANGED,
     .value = "NAME",
     .help = "uniform or log-uniform, between the sizes"},
    {.name = "working-set",
     .column = "working_set",
     .kind = PARAMETER_COUNT,
     .uses = WORKLOAD_USES_WORKING_SET,
     FIELD(working_set),
     .least = 1,
     .most = MAX_WORKING_SET,
     .value = "N",
     .help = "live objects of a thread"},
    {.name = "touch",
     .column = "touch",
     .kind = PARAMETER_NAME,
     FIELD(touch),
     NAMES(touches),
     .tell = PARAMETER_TELL_CHANGED,
     .value = "WHICH",
     .help = "payload bytes written and verified: none, ends, all"},
    {.name = "realloc",
     .column = "realloc_ppm",
     .kind = PARAMETER_SHARE,
     .uses = WORKLOAD_USES_REALLOC,
     FIELD(realloc_ppm),
     .most = ALL_PPM,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "SHARE",
     .help = "of operations that also resize their object"},
    {.name = "aligned",
     .column = "aligned_ppm",
     .kind = PARAMETER_SHARE,
     .uses = WORKLOAD_USES_ALIGNED,
     FIELD(aligned_ppm),
     .most = ALL_PPM,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "SHARE",
     .help = "of allocations with an alignment of 64 to 4096"},
    {.name = "calloc",
     .column = "calloc_ppm",
     .kind = PARAMETER_SHARE,
     .uses = WORKLOAD_USES_CALLOC,
     FIELD(calloc_ppm),
     .most = ALL_PPM,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "SHARE",
     .help = "of allocations through calloc"},
    {.name = "rounds",
     .column = "rounds",
     .kind = PARAMETER_COUNT,
     .uses = WORKLOAD_USES_ROUNDS,
     FIELD(rounds),
     .least = 1,
     .most = MAX_ROUNDS,
     .value = "N",
     .help = "generations or phases, where a workload has them"},
    {.name = "age",
     .column = "age",
     .kind = PARAMETER_NAME,
     .uses = WORKLOAD_USES_SIZES,
     FIELD(age),
     NAMES(ages),
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "KIND",
     .help = "first age the heap: none, churn, holes, drift",
     .meaning = "what happened to the heap before the measured part: none, churn, holes, drift"},
    {.name = "age-bytes",
     .column = "age_bytes",
     .kind = PARAMETER_COUNT,
     .uses = WORKLOAD_USES_SIZES,
     FIELD(age_bytes),
     .most = MAX_WORKING_SET,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "N",
     .help = "live bytes a thread while the heap is aged (64 MiB)"},
    {.name = "age-live",
     .column = "age_live_ppm",
     .kind = PARAMETER_SHARE,
     .uses = WORKLOAD_USES_SIZES,
     FIELD(age_live_ppm),
     .most = ALL_PPM,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "SHARE",
     .help = "of the aged objects that live on to the end (10%)"},
    {.name = "settle-work",
     .column = "settle_work",
     .kind = PARAMETER_NAME,
     .is_of_worker = 1,
     FIELD(settle_work),
     NAMES(settle_works),
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "KIND",
     .help = "that goes on while --settle reads memory: none, light",
     .meaning = "what went on while memory was watched after the threads had ended: none; light: one thread allocates "
                "and frees an object of 100 to 3000 bytes a millisecond"},
    {.name = "handover-batch",
     .column = "handover_batch",
     .kind = PARAMETER_COUNT,
     .uses = WORKLOAD_USES_HANDOVER,
     FIELD(handover_batch),
     .least = 1,
     .most = MAX_BATCH,
     .usual = REGISTRY_HANDOVER_BATCH,
     .tell = PARAMETER_TELL_CHANGED,
     .value = "N",
     .help = "words of handed-over objects that are published together"},
    {.name = "receiver",
     .column = "receiver",
     .kind = PARAMETER_NAME,
     .uses = WORKLOAD_USES_HANDOVER,
     FIELD(receiver),
     NAMES(receivers),
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "WHAT",
     .help = "of handed-over objects: reads and frees, or frees",
     .meaning = "what a thread does with an object handed to it: reads and frees it, or frees it unread"},
    {.name = "free",
     .column = "free",
     .kind = PARAMETER_NAME,
     .uses = WORKLOAD_USES_WORKING_SET,
     FIELD(own_free),
     NAMES(frees),
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "KIND",
     .help = "of own objects: warm, read just before; or cold, unread",
     .meaning = "how a thread frees its own objects: warm, read and verified just before; cold, unread, and one live "
                "object is verified for 128 allocations"},
    {.name = "memory-limit",
     .column = "memory_limit_bytes",
     .kind = PARAMETER_SIZE,
     FIELD(memory_limit),
     .most = MAX_LIMIT_BYTES,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "BYTES",
     .help = "memory of a sample, beside the harness's own: 64MiB",
     .meaning = "what the sample could use beside the harness's own memory; 0: no limit"},
    {.name = "thp",
     .column = "thp",
     .kind = PARAMETER_NAME,
     FIELD(thp),
     NAMES(thps),
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "WHEN",
     .help = "huge pages: default, never, madvise, always",
     .meaning = "when the kernel could use transparent huge pages: default (as the system was set), never, madvise, "
                "always"},
    {.name = "cpu-quota",
     .column = "cpu_quota_ppm",
     .kind = PARAMETER_SHARE,
     FIELD(cpu_quota_ppm),
     .most = ALL_PPM,
     .tell = PARAMETER_TELL_ABOVE_ZERO,
     .value = "SHARE",
     .help = "of one CPU for each thread",
     .meaning = "what the sample could use of the CPU time of so many CPUs as it has threads; 0: no limit"},
};

const size_t parameter_count = sizeof parameters / sizeof parameters[0];

uint64_t parameter_get(const struct workload_params *params, const struct parameter *parameter) {
    const unsigned char *field = (const unsigned char *)params + parameter->offset;
    uint32_t narrow = 0;
    uint64_t wide = 0;
    if (parameter->field_bytes == sizeof wide) {
        memcpy(&wide, field, sizeof wide);
        return wide;
    }
    memcpy(&narrow, field, sizeof narrow);
    return narrow == UINT32_MAX ? PARAMETER_UNSET : narrow;
}

void parameter_set(struct workload_params *params, const struct parameter *parameter, uint64_t value) {
    unsigned char *field = (unsigned char *)params + parameter->offset;
    const uint32_t narrow = (uint32_t)value;
    if (parameter->field_bytes == sizeof value)
        memcpy(field, &value, sizeof value);
    else
        memcpy(field, &narrow, sizeof narrow);
}

const struct parameter *parameter_named(const char *name) {
    for (size_t i = 0; i < parameter_count; i++)
        if (parameters[i].source == PARAMETER_OPTION && strcmp(parameters[i].name, name) == 0)
            return &parameters[i];
    return NULL;
}

int parameter_is_used(const struct parameter *parameter, const struct workload *workload) {
    if (parameter->is_of_worker && workload->is_program)
        return 0;
    return parameter->uses == 0 || (workload->used_params & parameter->uses) != 0;
}

const char *parameter_name_of(const struct parameter *parameter, uint64_t value) {
    return parameter->names != NULL && value <= parameter->most ? parameter->names[value] : NULL;
}
