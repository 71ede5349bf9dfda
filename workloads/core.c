// SPDX-License-Identifier: Apache-2.0
// Layout, wiring and the slow paths of core.h. Layer: workloads.
#include "core.h"

#define RING_ENTRIES 1024u    // inbound words a thread, shared among its producers, so that memory does not grow as T^2
#define RING_MIN_ENTRIES 64u  // but a ring holds several batches
#define WINDOW_EVENTS 8192u   // of a thread whose events do not fit
#define PAGE_BYTES 4096u      // between threads' slots: no shared line, no shared page
#define SPINS_BEFORE_YIELD 32 // about a microsecond; longer only steals time from the thread waited for
#define PREFETCH_AHEAD 8      // objects, one line of words
#define DRAIN_TOGETHER 4      // objects between two looks at the end
#define SLOTS_LOOKED_AT 64u   // for a live object, at most: many slots may be empty

#if defined(__x86_64__) || defined(__i386__)
#define CPU_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CPU_RELAX() __asm__ volatile("isb" ::: "memory")
#else
#define CPU_RELAX() __asm__ volatile("" ::: "memory")
#endif

uint64_t core_stream_bytes = UINT64_C(2) << 30;

// A bump pointer that can also run dry: with base NULL it only counts. Saturates at UINT64_MAX.
struct layout {
    unsigned char *base;
    uint64_t used;
};

static void *layout_take(struct layout *layout, uint64_t count, uint64_t bytes, uint64_t alignment) {
    uint64_t start = 0;
    uint64_t length = 0;
    uint64_t end = UINT64_MAX;
    if (__builtin_add_overflow(layout->used, alignment - 1, &start) || __builtin_mul_overflow(count, bytes, &length) ||
        __builtin_add_overflow(start & ~(alignment - 1), length, &end)) {
        layout->used = UINT64_MAX;
        return NULL;
    }
    start &= ~(alignment - 1);
    layout->used = end;
    return layout->base == NULL ? NULL : layout->base + start;
}

uint32_t core_out_count(enum core_wiring wiring, uint32_t thread, uint32_t threads) {
    switch (wiring) {
    case CORE_RING:
    case CORE_PAIRS:
        return threads > 1;
    case CORE_ALL:
        return threads - 1;
    case CORE_FAN_IN:
        return thread > 0;
    case CORE_FAN_OUT:
        return thread == 0 ? threads - 1 : 0;
    case CORE_HALVES:
        return thread % 2 == 0;
    case CORE_CHAIN:
        return thread + 1 < threads;
    case CORE_ALONE:
        break;
    }
    return 0;
}

uint32_t core_target(enum core_wiring wiring, uint32_t thread, uint32_t threads, uint32_t index) {
    switch (wiring) {
    case CORE_PAIRS:
        return thread ^ 1;
    case CORE_ALL:
        return index < thread ? index : index + 1;
    case CORE_FAN_IN:
        return 0;
    case CORE_FAN_OUT:
        return index + 1;
    case CORE_RING:
    case CORE_HALVES:
    case CORE_CHAIN:
    case CORE_ALONE:
        break;
    }
    return (thread + 1) % threads;
}

static uint32_t produces(enum core_wiring wiring, uint32_t thread, uint32_t threads) {
    const uint32_t is_alone = wiring == CORE_ALONE || threads == 1;
    return is_alone || core_out_count(wiring, thread, threads) > 0;
}

uint32_t core_producers(enum core_wiring wiring, uint32_t threads) {
    uint32_t count = 0;
    for (uint32_t t = 0; t < threads; t++)
        count += produces(wiring, t, threads);
    return count;
}

static uint64_t ring_entries(const struct core_shape *shape, uint32_t threads) {
    uint64_t entries = RING_ENTRIES;
    const uint32_t producers = shape->wiring == CORE_ALL ? threads - 1 : 1;
    while (entries > RING_MIN_ENTRIES && entries * producers > RING_ENTRIES)
        entries /= 2;
    return entries;
}

static void seed_thread(struct core_thread *thread, const struct workload_params *params, uint32_t index) {
    struct core_random *random = &thread->random;
    random->size_rng = rng_origin(params->seed, index, RNG_SIZE);
    random->slot_rng = rng_origin(params->seed, index, RNG_SLOT);
    random->remote_rng = rng_origin(params->seed, index, RNG_REMOTE);
    random->partner_rng = rng_origin(params->seed, index, RNG_PARTNER);
    random->kind_rng = rng_origin(params->seed, index, RNG_KIND);
    random->hash = rng_mix(index + 1);
}

// Without memory yet: what a thread's stream is like.
static struct core_stream stream_of(const struct workload_params *params, const struct core_shape *shape) {
    struct core_stream stream = {.total = shape->draw == NULL ? 0 : shape->events,
                                 .is_wide = params->max_bytes > CORE_NARROW_BYTES};
    stream.stride = 1 + stream.is_wide + shape->event_words;
    stream.step = core_step(params);
    stream.step_shift = (uint32_t)__builtin_ctzll(stream.step);
    if (params->duration_ns != 0 && stream.total != 0)
        stream.total = RNG_PPM; // and again from the beginning
    const uint64_t fitting =
        core_stream_bytes / params->threads / (stream.stride * sizeof(uint64_t)) & ~(CORE_STEP - 1ull);
    if (stream.total <= fitting)
        stream.capacity = stream.total;
    else if (params->duration_ns != 0)
        stream.capacity = stream.total = fitting;
    else
        stream.capacity = WINDOW_EVENTS;
    return stream;
}

static int has_targets(enum core_wiring wiring) {
    return wiring == CORE_ALL || wiring == CORE_FAN_OUT;
}

static void link_inboxes(struct core *core, const struct core_shape *shape, uint32_t threads,
                         struct handover_queue **inbound) {
    for (uint32_t to = 0; to < threads; to++) {
        core->threads[to].inbox.queues = inbound;
        for (uint32_t from = 0; from < threads; from++) {
            for (uint32_t i = 0; i < core->threads[from].out_count; i++) {
                if (core_target(shape->wiring, from, threads, i) == to) {
                    *inbound++ = &core->threads[from].out[i];
                    core->threads[to].inbox.count++;
                }
            }
        }
    }
}

// The one description of the memory, used to measure it (base NULL) and to lay it out.
static uint64_t lay_out(const struct workload_params *params, const struct core_shape *shape, unsigned char *base) {
    struct layout layout = {base, 0};
    const uint32_t threads = params->threads;
    uint64_t queue_count = 0;
    for (uint32_t t = 0; t < threads; t++)
        queue_count += core_out_count(shape->wiring, t, threads);

    struct core *core = layout_take(&layout, 1, sizeof *core, HANDOVER_LINE);
    struct core_thread *states = layout_take(&layout, threads, sizeof *states, HANDOVER_LINE);
    struct handover_queue *queues = layout_take(&layout, queue_count, sizeof *queues, HANDOVER_LINE);
    struct handover_queue **inbound = layout_take(&layout, queue_count, sizeof(struct handover_queue *), HANDOVER_LINE);
    const uint64_t entries = ring_entries(shape, threads);
    uint64_t *rings = layout_take(&layout, queue_count, entries * sizeof(uint64_t), PAGE_BYTES);

    if (base != NULL) {
        core->threads = states;
        core->shape = *shape;
        sizes_init(&core->sizes, params->sizes, params->min_bytes, params->max_bytes);
    }
    for (uint32_t t = 0; t < threads; t++) {
        const uint32_t is_producer = produces(shape->wiring, t, threads);
        struct object *slots = layout_take(&layout, is_producer ? shape->slots : 0, sizeof *slots, PAGE_BYTES);
        uint32_t *order = layout_take(&layout, is_producer ? shape->order_count : 0, sizeof *order, HANDOVER_LINE);
        struct core_stream stream = stream_of(params, shape);
        if (!is_producer)
            stream.capacity = stream.total = 0;
        stream.words = layout_take(&layout, stream.capacity, stream.stride * sizeof(uint64_t), PAGE_BYTES);
        stream.targets = has_targets(shape->wiring) ? layout_take(&layout, stream.capacity, 1, HANDOVER_LINE) : NULL;
        if (shape->with_steps)
            stream.steps = layout_take(&layout, stream.capacity / stream.step + 1, sizeof *stream.steps, HANDOVER_LINE);
        if (base == NULL)
            continue;
        struct core_thread *thread = &states[t];
        thread->stream = stream;
        thread->slots = slots;
        thread->slot_count = is_producer ? shape->slots : 0;
        thread->order = order;
        thread->produces = is_producer;
        thread->out = queues;
        thread->out_count = core_out_count(shape->wiring, t, threads);
        for (uint32_t i = 0; i < thread->out_count; i++) {
            handover_init(&queues[i], rings, entries, params->handover_batch);
            rings += entries;
        }
        queues += thread->out_count;
        seed_thread(thread, params, t);
    }
    if (base != NULL)
        link_inboxes(core, shape, threads, inbound);
    return layout.used;
}

uint64_t core_memory_bytes(const struct workload_params *params, const struct core_shape *shape) {
    return lay_out(params, shape, NULL);
}

void core_prepare(struct workload_run *run, const struct core_shape *shape) {
    lay_out(&run->params, shape, run->memory);
}

struct core_shape core_shape_alone(const struct workload_params *params) {
    return (struct core_shape){.slots = params->working_set, .wiring = CORE_ALONE};
}

struct core_shape core_shape_replace(const struct workload_params *params) {
    struct core_shape shape = core_shape_alone(params);
    shape.order_count = shape.slots;
    shape.draw = core_draw_replace;
    shape.events = params->ops;
    shape.with_steps = 1;
    return shape;
}

struct core_shape core_shape_by_topology(const struct workload_params *params) {
    const enum core_wiring wiring = params->threads > 1 ? (enum core_wiring)params->topology : CORE_ALONE;
    return (struct core_shape){.slots = params->working_set,
                               .order_count = params->working_set,
                               .wiring = wiring,
                               .draw = core_draw_replace,
                               .events = params->ops,
                               .with_steps = 1};
}

struct core_shape core_shape_mixed(const struct workload_params *params) {
    struct core_shape shape = core_shape_by_topology(params);
    shape.order_count = 0;
    shape.with_steps = 0;
    shape.draw = core_draw_mixed;
    shape.event_words = 2;
    return shape;
}

struct core_shape core_shape_mixed_alone(const struct workload_params *params) {
    struct core_shape shape = core_shape_mixed(params);
    shape.wiring = CORE_ALONE;
    return shape;
}

uint64_t core_remote_frees(const struct workload_params *params) {
    const struct core_shape shape = core_shape_by_topology(params);
    return core_producers(shape.wiring, params->threads) * rng_share(params->ops, params->remote_ppm);
}

uint64_t core_ops_by_rounds(const struct workload_params *params) {
    return params->working_set * params->rounds;
}

void core_pause(const struct workload_run *run, uint32_t *spins) {
    // Twice as long each time: whoever waits looks seldom at a line that another thread writes.
    if (*spins < SPINS_BEFORE_YIELD) {
        *spins = 2 * *spins + 1;
        for (uint32_t i = 0; i < *spins; i++)
            CPU_RELAX();
    } else {
        run->host->yield();
    }
}

void core_fail(struct workload_run *run, uint32_t thread) {
    core_thread_of(run, thread)->inbox.failures++;
    atomic_store_explicit(&run->stop, 1, memory_order_relaxed);
}

void core_generations(struct workload_run *run, uint32_t thread, uint32_t from, uint32_t to,
                      void (*body)(struct workload_run *run, uint32_t thread, uint32_t generation)) {
    for (uint32_t generation = from; generation < to && !core_stopped(run); generation++)
        if (!run->host->generation(run, thread, generation, body))
            core_fail(run, thread);
}

void core_verify_live(struct core_thread *self, enum workload_touch touch, uint8_t mask) {
    for (uint64_t looks = 0; looks < self->slot_count && looks < SLOTS_LOOKED_AT; looks++) {
        const struct object *object = &self->slots[self->looked];
        self->looked = self->looked + 1 == self->slot_count ? 0 : self->looked + 1;
        if (object->block != NULL) {
            self->inbox.corruptions += object_is_bad(object, object_bytes(object), touch, mask);
            return;
        }
    }
}

// What a piece of a ring was worth.
struct drained {
    const uint64_t *end;
    uint64_t freed_bytes, corruptions;
};

OBJECT_INLINE void drain_one(void (*free_it)(void *block), uint8_t mask, struct drained *sum, struct object object,
                             enum workload_receiver receiver, enum workload_touch touch) {
    if (core_receiver_looks(&object, receiver) && object_is_damaged(&object, touch, mask)) {
        __asm__ volatile(""); // a branch that is not taken costs less than adding 0 or 1
        sum->corruptions++;
    }
    sum->freed_bytes += object_bytes(&object);
    free_it(object.block);
}

// Words [at, end) in one piece of the ring, as far as they are objects of one word.
OBJECT_INLINE struct drained drain_piece(void (*free_it)(void *block), uint8_t mask, const uint64_t *at,
                                         const uint64_t *end, enum workload_receiver receiver,
                                         enum workload_touch touch) {
    const uint64_t *const last = end - at > PREFETCH_AHEAD ? end - PREFETCH_AHEAD : at;
    struct drained sum = {at, 0, 0};
    const int is_ahead = receiver == RECEIVER_READS;
    for (const uint64_t *word = at; is_ahead && word != end && word != at + PREFETCH_AHEAD; word++)
        __builtin_prefetch(handover_hint(*word));
    for (; last - at >= DRAIN_TOGETHER; at += DRAIN_TOGETHER) {
#pragma GCC unroll 4
        for (int i = 0; i < DRAIN_TOGETHER; i++) {
            if (is_ahead)
                __builtin_prefetch(handover_hint(at[PREFETCH_AHEAD + i]));
            if (__builtin_expect(handover_is_long(at[i]), 0)) {
                at += i;
                goto stopped;
            }
            drain_one(free_it, mask, &sum, handover_object(at[i]), receiver, touch);
        }
    }
    for (; at != end && !handover_is_long(*at); at++)
        drain_one(free_it, mask, &sum, handover_object(*at), receiver, touch);
stopped:
    sum.end = at;
    return sum;
}

// Functions of their own, so that each has the registers to itself.
#define DRAIN(name, receiver, touch)                                                                                   \
    static __attribute__((noinline)) struct drained drain_##name(void (*free_it)(void *block), uint8_t mask,           \
                                                                 const uint64_t *at, const uint64_t *end) {            \
        return drain_piece(free_it, mask, at, end, receiver, touch);                                                   \
    }

DRAIN(none, RECEIVER_READS, TOUCH_NONE)
DRAIN(ends, RECEIVER_READS, TOUCH_ENDS)
DRAIN(all, RECEIVER_READS, TOUCH_ALL)
DRAIN(unread_none, RECEIVER_FREES, TOUCH_NONE)
DRAIN(unread_ends, RECEIVER_FREES, TOUCH_ENDS)
DRAIN(unread_all, RECEIVER_FREES, TOUCH_ALL)

// Returns the number of objects.
static uint64_t drain_queue(struct workload_run *run, struct workload_counters *counters, struct core_inbox *inbox,
                            struct handover_queue *queue, uint64_t count) {
    static struct drained (*const drain[][3])(void (*free_it)(void *block), uint8_t mask, const uint64_t *at,
                                              const uint64_t *end) = {
        [RECEIVER_READS] = {drain_none, drain_ends, drain_all},
        [RECEIVER_FREES] = {drain_unread_none, drain_unread_ends, drain_unread_all}};
    const enum workload_receiver receiver = (enum workload_receiver)run->params.receiver;
    const struct core_env env = core_env_of(run, (uint32_t)(counters - run->counters));
    uint64_t objects = 0;
    uint64_t at = queue->taken;
    for (const uint64_t end = at + count; at != end;) {
        // Room is given back a chunk at a time: a waiting producer need not wait for the whole ring.
        const uint64_t place = at & (queue->capacity - 1);
        uint64_t piece = end - at < CORE_CHUNK ? end - at : CORE_CHUNK;
        piece = piece < queue->capacity - place ? piece : queue->capacity - place;
        const uint64_t *const first = queue->ring + place;
        struct drained sum = drain[receiver][run->params.touch](env.free_remote, env.mask, first, first + piece);
        objects += (uint64_t)(sum.end - first);
        at += (uint64_t)(sum.end - first);
        if (sum.end != first + piece) {
            uint64_t words = 0;
            const struct object object = handover_read(queue, at, &words);
            CORE_BY_TOUCH(run->params.touch, drain_one, env.free_remote, env.mask, &sum, object, receiver);
            objects++;
            at += words;
        }
        inbox->freed_bytes += sum.freed_bytes;
        inbox->corruptions += sum.corruptions;
        // Here and not with the other counters: a thread that waits for room drains for as long as it takes.
        atomic_store_explicit(&counters->drained_bytes, inbox->freed_bytes, memory_order_relaxed);
        handover_return(queue, at);
    }
    inbox->frees_remote += objects;
    return objects;
}

uint64_t core_drain(struct workload_run *run, struct core_thread *thread) {
    struct core_inbox *inbox = &thread->inbox;
    struct workload_counters *counters = &run->counters[thread - core_of(run)->threads];
    uint64_t drained = 0;
    uint64_t waiting = 0;
    for (uint32_t i = 0; i < inbox->count; i++) {
        struct handover_queue *queue = inbox->queues[i];
        const uint64_t count = handover_available(queue);
        waiting += count;
        if (count != 0)
            drained += drain_queue(run, counters, inbox, queue, count);
    }
    if (waiting > inbox->in_flight_peak)
        inbox->in_flight_peak = waiting;
    return drained;
}

void core_flush(struct core_thread *thread) {
    for (uint32_t i = 0; i < thread->out_count; i++)
        handover_flush(&thread->out[i]);
}

int core_push_slow(struct workload_run *run, uint32_t thread, struct handover_queue *queue,
                   const struct object *object) {
    struct core_thread *self = core_thread_of(run, thread);
    uint32_t spins = 0;
    self->inbox.waits++;
    core_flush(self); // others may be waiting for it
    for (;;) {
        const uint64_t drained = core_drain(run, self);
        if (handover_push(queue, object))
            return 1;
        if (core_stopped(run))
            return 0;
        if (drained == 0)
            core_pause(run, &spins);
    }
}

void core_finish(struct workload_run *run, uint32_t thread) {
    struct core_thread *self = core_thread_of(run, thread);
    for (uint32_t i = 0; i < self->out_count; i++)
        handover_close(&self->out[i]);
    uint32_t spins = 0;
    uint32_t is_waiting = 0;
    for (;;) {
        uint32_t open = 0;
        for (uint32_t i = 0; i < self->inbox.count; i++)
            open += !handover_is_closed(self->inbox.queues[i]);
        // Looked at before draining: what a closed queue holds now is all it will ever hold.
        const uint64_t drained = core_drain(run, self);
        core_publish(run, thread, &self->hot);
        if (open == 0 || core_stopped(run))
            return;
        if (drained != 0) {
            spins = 0;
            is_waiting = 0;
        } else {
            self->inbox.waits += !is_waiting;
            is_waiting = 1;
            core_pause(run, &spins);
        }
    }
}

OBJECT_INLINE void fill_slots(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    struct core_hot hot = self->hot;
    for (uint64_t i = 0; i < self->slot_count; i++) {
        if (!core_draw(&env, &self->random, &hot, &self->slots[i], i, 0, touch)) {
            core_fail(run, thread);
            break;
        }
        core_publish_live(&run->counters[thread], &hot);
    }
    self->hot = hot;
    core_publish(run, thread, &hot);
}

void core_fill_slots(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, fill_slots, run, thread);
}

OBJECT_INLINE void free_slots(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    struct core_hot hot = self->hot;
    for (uint64_t i = 0; i < self->slot_count; i++) {
        if (self->slots[i].block != NULL) {
            core_delete(&env, &hot, self->slots[i], touch);
            self->slots[i].block = NULL;
            core_publish_live(&run->counters[thread], &hot);
        }
    }
    self->hot = hot;
}

void core_tear_down(struct workload_run *run, uint32_t thread) {
    struct core_thread *self = core_thread_of(run, thread);
    const uint64_t frees_remote = self->inbox.frees_remote;
    core_drain(run, self);
    self->inbox.frees_remote = frees_remote; // what a stopped run left behind was not freed in the measured part
    CORE_BY_TOUCH(run->params.touch, free_slots, run, thread);
    core_publish(run, thread, &self->hot);
}
