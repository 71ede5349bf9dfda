// SPDX-License-Identifier: Apache-2.0
// `pipeline`: messages pass through a chain of threads. The first allocates; each further one frees the message it got
// and allocates the next thread's; the last only frees. Every free is remote. Layer: workloads.
#include "core.h"
#include "registry.h"

static struct core_shape shape_of(const struct workload_params *params) {
    (void)params;
    return (struct core_shape){.wiring = CORE_CHAIN};
}

static uint64_t remote_frees(const struct workload_params *params) {
    return (params->threads - 1) * params->ops;
}

// Allocates a message and passes it on. Returns 0 when the run stops.
OBJECT_INLINE int send(struct workload_run *run, uint32_t thread, const struct core_env *env, struct core_hot *hot,
                       enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct object object;
    if (!core_draw(env, hot, &object, 0, thread + 1, touch)) {
        core_fail(run, thread);
        return 0;
    }
    uint32_t spins = 0;
    while (!handover_push(&self->out[0], object)) {
        // No helping here: to take a message means to send one. The chain has an end, so the wait has one, too.
        self->inbox.waits += spins == 0;
        if (core_stopped(run)) {
            core_delete(env, hot, object, touch);
            return 0;
        }
        core_pause(run, &spins);
    }
    core_publish_live(&run->counters[thread], hot);
    return 1;
}

OBJECT_INLINE void first_stage(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run);
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    uint64_t chunk = 0;
    while ((chunk = core_budget_take(&budget, run)) != 0) {
        while (chunk != 0 && send(run, thread, &env, &hot, touch))
            chunk--;
        core_publish(&run->counters[thread], &hot, &self->inbox);
    }
    self->hot = hot;
}

OBJECT_INLINE void middle_stage(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run);
    struct handover_queue *in = self->inbox.queues[0];
    struct core_hot hot = self->hot;
    uint32_t spins = 0;
    while (!core_stopped(run)) {
        const int is_closed = handover_is_closed(in);
        uint64_t count = handover_available(in);
        if (count == 0) {
            if (is_closed)
                break;
            self->inbox.waits += spins == 0;
            core_pause(run, &spins);
            continue;
        }
        spins = 0;
        for (count = count < CORE_CHUNK ? count : CORE_CHUNK; count != 0; count--) {
            const struct object object = *handover_entry(in, 0);
            handover_take(in, 1);
            core_delete(&env, &hot, object, touch);
            self->inbox.frees_remote++;
            if (!send(run, thread, &env, &hot, touch))
                break;
        }
        core_publish(&run->counters[thread], &hot, &self->inbox);
    }
    self->hot = hot;
}

static void measured(struct workload_run *run, uint32_t thread) {
    if (thread == 0)
        CORE_BY_TOUCH(run->params.touch, first_stage, run, thread);
    else if (core_thread_of(run, thread)->produces)
        CORE_BY_TOUCH(run->params.touch, middle_stage, run, thread);
    core_finish(run, thread);
}

const struct workload pipeline_workload = {
    .name = "pipeline",
    .summary = "messages pass through a chain of threads, each freed by the thread after its allocator",
    .source = "staged servers; 100 % cross-owner frees",
    .min_threads = 2,
    .defaults = {.sizes = SIZES_UNIFORM, .touch = TOUCH_ENDS, .ops = 1000000, .min_bytes = 64, .max_bytes = 1024},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_DURATION,
    .remote_frees = remote_frees,
    .shape = shape_of,
    .warm_up = core_fill_slots,
    .measured = measured,
};
