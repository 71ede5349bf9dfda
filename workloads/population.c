// SPDX-License-Identifier: Apache-2.0
// population.h: bins to streams by alias sampling and a calendar of deaths, and the loop that runs a stream.
// Layer: workloads.
#include "population.h"

#define PAGE_BYTES 4096u
#define NOBODY UINT32_MAX

// Which bin: one random number, two look-ups (Walker 1977, Vose 1991).
struct alias {
    double threshold;
    uint32_t other;
};

struct population {
    uint32_t bin_count, max_bins;
    struct population_bin *bins;
    struct alias *by_share; // whom an allocation belongs to
    struct alias *by_live;  // whom an object that is alive belongs to
    double *weights;        // while an alias table is built
    uint32_t *work;         // likewise
    struct population_thread threads[];
};

// Live objects scatter about the working set as a Poisson number does, by its root: eight of those and a few more never
// happen. Should the slots run out all the same, an object dies as soon as it is born.
static uint64_t slots_of(const struct workload_params *params) {
    uint64_t root = 1;
    while (root * root < params->working_set)
        root *= 2;
    return params->working_set + 8 * root + 64;
}

static struct core_shape shape_of(const struct workload_params *params) {
    return (struct core_shape){.slots = slots_of(params), .wiring = params->threads > 1 ? CORE_RING : CORE_ALONE};
}

// What a thread's stream is made in and kept in, in this order.
struct room {
    struct population_event *events; // births, and deaths of what is born or was there
    uint32_t *initial;
    uint32_t *next;   // of the objects that die at the same time, by slot; also the chain of free slots
    uint32_t *dying;  // first slot that dies before the allocation of this number
    uint32_t *bin_of; // by slot
};

static uint64_t most_events(const struct workload_params *params) {
    return 2 * params->ops + params->working_set;
}

static uint64_t room_bytes(const struct workload_params *params) {
    const uint64_t words = 3 * slots_of(params) + params->ops + 1;
    const uint64_t bytes = most_events(params) * sizeof(struct population_event) + words * sizeof(uint32_t);
    return (bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

static struct room room_of(const struct workload_params *params, unsigned char *at) {
    const uint64_t slots = slots_of(params);
    struct room room = {.events = (struct population_event *)(void *)at};
    room.initial = (uint32_t *)(void *)(at + most_events(params) * sizeof(struct population_event));
    room.next = room.initial + slots;
    room.bin_of = room.next + slots;
    room.dying = room.bin_of + slots;
    return room;
}

static uint64_t head_bytes(const struct workload_params *params) {
    return sizeof(struct population) + params->threads * sizeof(struct population_thread);
}

// The head and the bins behind it.
static uint64_t shared_bytes(const struct workload_params *params, uint32_t max_bins) {
    const uint64_t bin_bytes =
        sizeof(struct population_bin) + 2 * sizeof(struct alias) + sizeof(double) + sizeof(uint32_t);
    return (head_bytes(params) + max_bins * bin_bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

static uint64_t core_bytes(const struct workload_params *params) {
    const struct core_shape shape = shape_of(params);
    const uint64_t bytes = core_memory_bytes(params, &shape);
    return bytes > UINT64_MAX - PAGE_BYTES ? UINT64_MAX : (bytes + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
}

uint64_t population_memory_bytes(const struct workload_params *params, uint32_t max_bins) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(room_bytes(params), params->threads, &bytes) ||
        __builtin_add_overflow(bytes, core_bytes(params), &bytes) ||
        __builtin_add_overflow(bytes, shared_bytes(params, max_bins), &bytes))
        return UINT64_MAX;
    return bytes;
}

static struct population *population_of(const struct workload_run *run) {
    return (struct population *)(void *)((unsigned char *)run->memory + core_bytes(&run->params));
}

struct population_bin *population_bins(struct workload_run *run, uint32_t max_bins) {
    struct population *population = population_of(run);
    population->max_bins = max_bins;
    population->bins = (struct population_bin *)(void *)((unsigned char *)population + head_bytes(&run->params));
    population->by_share = (struct alias *)(void *)(population->bins + max_bins);
    population->by_live = population->by_share + max_bins;
    population->weights = (double *)(void *)(population->by_live + max_bins);
    population->work = (uint32_t *)(void *)(population->weights + max_bins);
    return population->bins;
}

const struct population_thread *population_thread_of(const struct workload_run *run, uint32_t thread) {
    return &population_of(run)->threads[thread];
}

// ---- drawing -------------------------------------------------------------------------------------------------------

// Bins poorer than the average are filled up from a richer one, until all hold the same.
static void alias_build(struct population *population, struct alias *table) {
    const uint32_t count = population->bin_count;
    double *const weights = population->weights;
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += weights[i];
    if (sum <= 0)
        weights[0] = sum = 1; // no bin is met: any will do
    // The poor from the front of `work`, the rich from its back.
    uint32_t poor = 0;
    uint32_t rich = count;
    for (uint32_t i = 0; i < count; i++) {
        weights[i] = weights[i] / sum * count;
        table[i] = (struct alias){1, i};
        population->work[weights[i] < 1 ? poor++ : --rich] = i;
    }
    while (poor != 0 && rich != count) {
        const uint32_t from = population->work[rich];
        const uint32_t to = population->work[--poor];
        table[to] = (struct alias){weights[to], from};
        weights[from] -= 1 - weights[to];
        if (weights[from] < 1) {
            rich++;
            population->work[poor++] = from;
        }
    }
}

static double unit(uint64_t *rng) {
    return (double)(rng_splitmix(rng) >> 11) * 0x1p-53;
}

static uint32_t alias_pick(const struct alias *table, uint32_t count, uint64_t *rng) {
    const uint32_t index = (uint32_t)rng_bounded(rng_splitmix(rng), count);
    return unit(rng) < table[index].threshold ? index : table[index].other;
}

// Exponential of mean 1 from comparisons alone (von Neumann 1951): equal to the last bit on every platform, as no
// logarithm is. A falling run of odd length ends it.
static double exponential(uint64_t *rng) {
    for (double whole = 0;; whole += 1) {
        const double first = unit(rng);
        double last = first;
        uint32_t length = 1;
        for (double next = unit(rng); next < last; next = unit(rng)) {
            last = next;
            length++;
        }
        if (length % 2 == 1)
            return whole + first;
    }
}

static double whole_life(const struct population_bin *bin, uint64_t *rng) {
    if (bin->kind == POPULATION_EXPONENTIAL)
        return bin->life * exponential(rng);
    return bin->life_min + (bin->life_max - bin->life_min) * unit(rng);
}

// What is left to an object met alive: long lives are met more often, and anywhere between birth and death.
static double rest_of_life(const struct population_bin *bin, uint64_t *rng) {
    if (bin->kind == POPULATION_EXPONENTIAL)
        return bin->life * exponential(rng);
    double life = whole_life(bin, rng);
    while (unit(rng) * bin->life_max > life)
        life = whole_life(bin, rng);
    return life * unit(rng);
}

static uint32_t bytes_of(const struct population_bin *bin, uint64_t *rng) {
    return bin->min_bytes + (uint32_t)rng_bounded(rng_splitmix(rng), (uint64_t)bin->max_bytes - bin->min_bytes + 1);
}

struct drawing {
    struct population *population;
    struct population_thread *thread;
    struct room room;
    uint64_t ops;
    uint32_t free_slot; // first of the chain
    uint64_t bin_rng, life_rng, size_rng, remote_rng;
};

// The object in `slot` dies before the allocation of number `at`; beyond the end it is the tear-down's.
static void bury(struct drawing *drawing, uint32_t slot, double at) {
    if (at < (double)drawing->ops + 1) {
        uint32_t *const first = &drawing->room.dying[(uint64_t)at];
        drawing->room.next[slot] = *first;
        *first = slot;
    }
}

static void add(struct drawing *drawing, uint32_t slot, uint32_t bytes) {
    drawing->thread->events[drawing->thread->event_count++] = (struct population_event){slot, bytes};
}

static void draw_initial(struct drawing *drawing, uint64_t working_set) {
    const struct population *population = drawing->population;
    drawing->thread->initial = drawing->room.initial;
    drawing->thread->initial_count = working_set;
    for (uint32_t slot = 0; slot < working_set; slot++) {
        const uint32_t bin = alias_pick(population->by_live, population->bin_count, &drawing->bin_rng);
        drawing->room.initial[slot] = bytes_of(&population->bins[bin], &drawing->size_rng);
        drawing->room.bin_of[slot] = bin;
        bury(drawing, slot, rest_of_life(&population->bins[bin], &drawing->life_rng) + 1);
    }
}

static void draw_deaths(struct drawing *drawing, uint64_t time) {
    const struct population_bin *bins = drawing->population->bins;
    for (uint32_t slot = drawing->room.dying[time]; slot != NOBODY;) {
        const uint32_t next = drawing->room.next[slot];
        const uint32_t ppm = bins[drawing->room.bin_of[slot]].remote_ppm;
        const int is_remote = rng_bounded(rng_splitmix(&drawing->remote_rng), RNG_PPM) < ppm;
        add(drawing, slot, is_remote ? POPULATION_FREE_REMOTE : POPULATION_FREE);
        drawing->room.next[slot] = drawing->free_slot;
        drawing->free_slot = slot;
        slot = next;
    }
}

static void draw_stream(struct drawing *drawing, const struct workload_params *params) {
    const struct population *population = drawing->population;
    const uint64_t slots = slots_of(params);
    for (uint64_t time = 0; time <= params->ops; time++)
        drawing->room.dying[time] = NOBODY;
    draw_initial(drawing, params->working_set);
    drawing->free_slot = NOBODY;
    for (uint64_t slot = slots; slot-- > params->working_set;) {
        drawing->room.next[slot] = drawing->free_slot;
        drawing->free_slot = (uint32_t)slot;
    }
    for (uint64_t time = 1; time <= params->ops; time++) {
        const uint32_t slot = drawing->free_slot;
        const uint32_t bin = alias_pick(population->by_share, population->bin_count, &drawing->bin_rng);
        const double life = whole_life(&population->bins[bin], &drawing->life_rng);
        const double born = (double)time + unit(&drawing->life_rng); // within the tick, so that rounding has no bias
        drawing->free_slot = drawing->room.next[slot];
        drawing->room.bin_of[slot] = bin;
        add(drawing, slot, bytes_of(&population->bins[bin], &drawing->size_rng));
        bury(drawing, slot, drawing->free_slot == NOBODY ? (double)time : born + life);
        draw_deaths(drawing, time);
    }
}

static int is_free(uint32_t bytes) {
    return bytes == POPULATION_FREE || bytes == POPULATION_FREE_REMOTE;
}

// Makes exactly a share of the frees remote: turns as many as are missing, or too many, of those that the bins chose.
static void correct_remote(struct drawing *drawing, uint32_t remote_ppm) {
    struct population_thread *thread = drawing->thread;
    uint64_t frees = 0;
    uint64_t remote = 0;
    for (uint64_t i = 0; i < thread->event_count; i++) {
        frees += is_free(thread->events[i].bytes);
        remote += thread->events[i].bytes == POPULATION_FREE_REMOTE;
    }
    const uint64_t wanted = rng_share(frees, remote_ppm);
    const uint32_t from = remote > wanted ? POPULATION_FREE_REMOTE : POPULATION_FREE;
    const uint32_t to = remote > wanted ? POPULATION_FREE : POPULATION_FREE_REMOTE;
    uint64_t total = remote > wanted ? remote : frees - remote;
    uint64_t chosen = remote > wanted ? remote - wanted : wanted - remote;
    for (uint64_t i = 0; i < thread->event_count; i++)
        if (thread->events[i].bytes == from && rng_select(rng_splitmix(&drawing->remote_rng), &chosen, &total))
            thread->events[i].bytes = to;
}

void population_scale(struct workload_run *run, uint32_t bin_count) {
    struct population *population = population_of(run);
    double share = 0;
    double live = 0;
    for (uint32_t i = 0; i < bin_count; i++) {
        share += population->bins[i].share;
        live += population->bins[i].share * population->bins[i].life;
    }
    if (live <= 0)
        return; // nothing outlives the next allocation
    const double factor = (double)run->params.working_set * share / live;
    for (uint32_t i = 0; i < bin_count; i++) {
        struct population_bin *bin = &population->bins[i];
        bin->life *= factor;
        bin->life_min *= factor;
        bin->life_max *= factor;
    }
}

void population_prepare(struct workload_run *run, uint32_t bin_count, int exact_remote) {
    const struct workload_params *params = &run->params;
    const struct core_shape shape = shape_of(params);
    struct population *population = population_of(run);
    core_prepare(run, &shape);
    population->bin_count = bin_count;
    for (uint32_t i = 0; i < bin_count; i++)
        population->weights[i] = population->bins[i].share;
    alias_build(population, population->by_share);
    for (uint32_t i = 0; i < bin_count; i++)
        population->weights[i] = population->bins[i].share * population->bins[i].life;
    alias_build(population, population->by_live);

    unsigned char *at = (unsigned char *)population + shared_bytes(params, population->max_bins);
    for (uint32_t t = 0; t < params->threads; t++, at += room_bytes(params)) {
        struct drawing drawing = {.population = population,
                                  .thread = &population->threads[t],
                                  .room = room_of(params, at),
                                  .ops = params->ops,
                                  .bin_rng = rng_origin(params->seed, t, RNG_SLOT),
                                  .life_rng = rng_origin(params->seed, t, RNG_ORDER),
                                  .size_rng = rng_origin(params->seed, t, RNG_SIZE),
                                  .remote_rng = rng_origin(params->seed, t, RNG_REMOTE)};
        drawing.thread->events = drawing.room.events;
        draw_stream(&drawing, params);
        if (exact_remote)
            correct_remote(&drawing, params->remote_ppm);
    }
}

// ---- running -------------------------------------------------------------------------------------------------------

OBJECT_INLINE void fill(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    const struct population_thread *stream = population_thread_of(run, thread);
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    struct core_hot hot = self->hot;
    for (uint64_t i = 0; i < stream->initial_count && !core_stopped(run); i++) {
        const uint32_t bytes = stream->initial[i];
        core_event(&self->random, bytes, i, 0);
        if (!core_new(&env, &hot, &self->slots[i], object_meta(bytes, i), touch))
            core_fail(run, thread);
        core_publish_live(&run->counters[thread], &hot);
    }
    for (uint64_t i = 0; i < stream->event_count; i++) { // before the clock, like all drawing
        const struct population_event event = stream->events[i];
        core_event(&self->random, event.bytes, event.slot, 0);
        self->stream.drawn_sum += (uint64_t)event.slot << 32 ^ event.bytes;
    }
    self->hot = hot;
    core_publish(run, thread, &hot);
}

void population_warm_up(struct workload_run *run, uint32_t thread) {
    CORE_BY_TOUCH(run->params.touch, fill, run, thread);
}

OBJECT_INLINE void follow(struct workload_run *run, uint32_t thread, enum workload_touch touch) {
    const struct population_thread *stream = population_thread_of(run, thread);
    struct core_thread *self = core_thread_of(run, thread);
    const struct core_env env = core_env_of(run, thread);
    const int is_alone = self->out_count == 0;
    const struct population_event *event = stream->events;
    const struct population_event *const last = event + stream->event_count;
    uint64_t unseen = 0;
    uint64_t unflushed = 0;
    uint64_t sum = 0;
    struct core_hot hot = self->hot;
    while (event != last && !core_stopped(run)) {
        const uint64_t left = (uint64_t)(last - event);
        const struct population_event *const end = event + (left < CORE_CHUNK ? left : CORE_CHUNK);
        const struct population_event *const begin = event;
        for (; event != end; event++) {
            struct object *const place = &self->slots[event->slot];
            const uint32_t bytes = event->bytes;
            sum += (uint64_t)event->slot << 32 ^ bytes;
            if (bytes == POPULATION_FREE || (bytes == POPULATION_FREE_REMOTE && is_alone)) {
                core_clear(&env, &hot, place, touch);
            } else if (bytes == POPULATION_FREE_REMOTE) {
                if (!handover_push(self->out, place) && !core_push_slow(run, thread, self->out, place))
                    goto stopped;
                place->block = NULL;
            } else {
                if (!core_new(&env, &hot, place, object_meta(bytes, (uint64_t)(event - stream->events)), touch)) {
                    core_fail(run, thread);
                    goto stopped;
                }
                hot.allocs++;
                unseen += bytes;
                if (unseen >= CORE_UNSEEN_BYTES) { // sizes have no bound here that would say how often
                    unseen = 0;
                    core_publish_live(&run->counters[thread], &hot);
                }
            }
        }
        core_drain(run, self);
        unflushed += (uint64_t)(end - begin);
        if (unflushed >= CORE_DELAY) {
            core_flush(self);
            unflushed = 0;
        }
        core_publish_live(&run->counters[thread], &hot);
    }
stopped:
    self->stream.done_sum = sum;
    self->hot = hot;
    core_publish(run, thread, &hot);
    core_check_executed(run, thread);
}

void population_measured(struct workload_run *run, uint32_t thread) {
    CORE_BY_FREE(run, follow, thread);
    core_finish(run, thread);
}
