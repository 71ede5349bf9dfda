// SPDX-License-Identifier: Apache-2.0
// `pingpong`: allocate one object, free it, again. The shortest path an allocator has. Layer: workloads.
#include "core.h"
#include "registry.h"

static struct core_shape shape_of(const struct workload_params *params) {
    (void)params;
    return (struct core_shape){.wiring = CORE_ALONE};
}

OBJECT_INLINE void ping_pong(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    uint64_t chunk = 0;
    while ((chunk = core_budget_take(&budget, run)) != 0) {
        do {
            struct object object;
            if (!core_draw(&env, &hot, &object, 0, 0, touch)) {
                core_fail(run, thread);
                goto stopped;
            }
            core_delete(&env, &hot, object, touch);
            hot.frees_local++;
        } while (--chunk != 0);
        core_publish(counters, &hot, &self->inbox);
    }
stopped:
    self->hot = hot;
}

static void measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, ping_pong, run, thread);
}

const struct workload pingpong_workload = {
    .name = "pingpong",
    .summary = "allocate one object and free it at once",
    .source = "the classic loop; all good allocators are close",
    .min_threads = 1,
    .defaults = {.sizes = SIZES_UNIFORM, .touch = TOUCH_ENDS, .ops = 20000000, .min_bytes = 64, .max_bytes = 64},
    .used_params = WORKLOAD_USES_SIZES | WORKLOAD_USES_DURATION,
    .shape = shape_of,
    .warm_up = core_fill_slots,
    .measured = measured,
};
