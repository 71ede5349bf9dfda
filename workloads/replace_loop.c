// SPDX-License-Identifier: Apache-2.0
// The replacement loop of core.h: the timed inner loop of the workloads that replace random objects, specialised by
// whether objects change hands, by whether there are other calls than malloc and free, and by touch. Layer: workloads.
#include "core.h"

#define ALIGNMENT_MIN 64u  // a cache line
#define ALIGNMENT_KINDS 7u // 64, 128 .. 4096
#define CALLOC_EVENT 1u    // in the event of an op; ALIGNMENT_EVENT + k for the k-th alignment
#define ALIGNMENT_EVENT 2u

// Allocates through malloc, calloc or an aligned allocation, as the kind stream says.
OBJECT_INLINE int new_of_kind(struct workload_run *run, const struct core_env *env, struct core_hot *hot,
                              struct object *out, uint32_t bytes, uint32_t tag, uint64_t kind,
                              enum workload_touch touch) {
    const struct workload_params *params = &run->params;
    const uint64_t draw = rng_bounded(kind, RNG_PPM);
    if (draw >= (uint64_t)params->aligned_ppm + params->calloc_ppm)
        return core_new(env, hot, out, bytes, tag, touch);
    struct object object = {NULL, bytes, tag};
    uint64_t event = CALLOC_EVENT;
    uint64_t wrong = 0;
    if (draw < params->aligned_ppm) {
        const uint64_t step = rng_bounded(rng_mix(kind), ALIGNMENT_KINDS);
        const uint64_t alignment = (uint64_t)ALIGNMENT_MIN << step;
        event = ALIGNMENT_EVENT + step;
        object.block = run->allocator.alloc_aligned(alignment, bytes);
        wrong = (uintptr_t)object.block & (alignment - 1);
    } else {
        object.block = run->allocator.calloc(1, bytes);
        if (object.block != NULL) {
            const struct object zeroes = {object.block, bytes, 0};
            wrong = object_is_bad(&zeroes, bytes, touch, env->mask);
        }
    }
    core_event(hot, event, 0, 0);
    *out = object;
    if (object.block == NULL)
        return 0;
    hot->corruptions += wrong != 0 && env->mask != 0;
    object_fill(out, touch);
    hot->allocated_bytes += bytes;
    hot->allocs++;
    return 1;
}

// Resizes an object in place in its slot and checks that the contents came along. Returns 0 when memory ran out.
OBJECT_INLINE int resize(struct workload_run *run, const struct core_env *env, struct core_hot *hot,
                         struct object *object, uint32_t bytes, enum workload_touch touch) {
    const uint32_t old_bytes = object->bytes;
    hot->corruptions += object_is_bad(object, old_bytes, touch, env->mask);
    unsigned char *block = run->allocator.realloc(object->block, bytes);
    if (block == NULL)
        return 0;
    object->block = block;
    // The last byte written was at old_bytes - 1. After shrinking it is gone: with ends only the first remains.
    const uint32_t shrunk = touch == TOUCH_ALL ? bytes : 1;
    hot->corruptions += object_is_bad(object, bytes >= old_bytes ? old_bytes : shrunk, touch, env->mask);
    object->bytes = bytes;
    object_fill(object, touch);
    hot->allocated_bytes += bytes;
    hot->freed_bytes += old_bytes;
    return 1;
}

OBJECT_INLINE uint32_t pick_target(enum core_wiring wiring, uint32_t out_count, struct core_hot *hot, uint32_t *turn) {
    uint32_t index = 0;
    if (wiring == CORE_ALL) {
        index = (uint32_t)rng_bounded(rng_splitmix(&hot->partner_rng), out_count);
    } else if (wiring == CORE_FAN_OUT) {
        index = *turn;
        *turn = index + 1 == out_count ? 0 : index + 1;
    }
    return index;
}

OBJECT_INLINE void replace_loop(struct workload_run *run, uint32_t thread, const int with_remote, const int with_kinds,
                                enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    struct workload_counters *counters = &run->counters[thread];
    const struct core_env env = core_env_of(run);
    const enum core_wiring wiring = core_of(run)->shape.wiring;
    struct object *const slots = self->slots;
    const uint64_t slot_count = self->slot_count;
    struct handover_queue *const out = self->out;
    const uint32_t out_count = self->out_count;
    const uint32_t remote_ppm = run->params.remote_ppm;
    struct core_budget budget = core_budget_of(run);
    struct core_hot hot = self->hot;
    uint64_t total = budget.timed ? 0 : run->params.ops;
    uint64_t chosen = rng_share(total, remote_ppm);
    uint32_t turn = 0;
    uint64_t chunk = 0;

    while ((chunk = core_budget_take(&budget, run)) != 0) {
        if (with_remote && total == 0) {
            // By the clock nobody knows the total: windows of a million ops (a multiple of the chunk), each exact.
            total = RNG_PPM;
            chosen = remote_ppm;
        }
        do {
            const uint64_t random = rng_splitmix(&hot.size_rng);
            const uint32_t bytes = sizes_pick(env.sizes, random);
            const uint64_t slot = rng_bounded(rng_splitmix(&hot.slot_rng), slot_count);
            struct object *const place = &slots[slot];
            uint32_t target = 0;

            if (with_remote && rng_select(rng_splitmix(&hot.remote_rng), &chosen, &total)) {
                target = pick_target(wiring, out_count, &hot, &turn);
                struct handover_queue *queue = &out[target];
                target++;
                if (__builtin_expect(!handover_push(queue, *place), 0) && !core_push_slow(run, thread, queue, *place))
                    goto stopped;
            } else {
                core_delete(&env, &hot, *place, touch);
                hot.frees_local++;
            }
            core_event(&hot, bytes, slot, target);

            const uint32_t tag = object_tag(0, random);
            if (!with_kinds) {
                if (!core_new(&env, &hot, place, bytes, tag, touch)) {
                    core_fail(run, thread);
                    goto stopped;
                }
            } else {
                const uint64_t kind = rng_splitmix(&hot.kind_rng);
                if (!new_of_kind(run, &env, &hot, place, bytes, tag, kind, touch)) {
                    core_fail(run, thread);
                    goto stopped;
                }
                // The low half decides independently of the high half, which chose the call.
                if (rng_bounded(kind << 32, RNG_PPM) < run->params.realloc_ppm) {
                    const uint64_t other = rng_bounded(rng_splitmix(&hot.slot_rng), slot_count);
                    const uint32_t new_bytes = sizes_pick(env.sizes, rng_splitmix(&hot.size_rng));
                    core_event(&hot, new_bytes, other, 0);
                    if (!resize(run, &env, &hot, &slots[other], new_bytes, touch)) {
                        core_fail(run, thread);
                        goto stopped;
                    }
                }
            }
            core_publish_live(counters, &hot);
        } while (--chunk != 0);
        if (with_remote)
            core_drain(run, self);
        core_publish(counters, &hot, &self->inbox);
    }
stopped:
    self->hot = hot;
    core_publish(counters, &hot, &self->inbox);
}

void core_replace_local(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, replace_loop, run, thread, 0, 0);
}

void core_replace_remote(struct workload_run *run, uint32_t thread) {
    if (core_thread_of(run, thread)->produces)
        CORE_BY_TOUCH(run->params.touch, replace_loop, run, thread, 1, 0);
    core_finish(run, thread);
}

void core_replace_mixed(struct workload_run *run, uint32_t thread) {
    if (core_thread_of(run, thread)->produces)
        CORE_BY_TOUCH(run->params.touch, replace_loop, run, thread, 1, 1);
    core_finish(run, thread);
}
