// SPDX-License-Identifier: Apache-2.0
// Histograms of a trace. Layer: trace.
#include "profile.h"

#include <inttypes.h>
#include <stdlib.h>

#define EXACT_BYTES 128u // sizes up to here have a bin each
#define EXACT_BITS 7u    // log2 of it
#define PER_DOUBLING 8u  // bins above
#define SIZE_BINS (EXACT_BYTES + (TRACE_SIZE_BITS - EXACT_BITS) * PER_DOUBLING + 1u)
#define LIFETIME_BINS 65u // doublings, and the last: still alive
#define FOREVER (LIFETIME_BINS - 1u)
#define POINTS_MAX 1024u // of the live curve
#define MILLION UINT64_C(1000000)

struct cell {
    uint64_t objects, bytes;
};

struct point {
    uint64_t events, live_bytes, live_objects;
};

struct profile {
    struct cell cells[SIZE_BINS][LIFETIME_BINS][2];      // last: 1 remote
    uint64_t freed_by[TRACE_LANES_MAX][TRACE_LANES_MAX]; // owner, who freed
    uint64_t kinds[TRACE_ORDER];
    uint64_t aligned; // above what malloc gives anyway
    struct point points[POINTS_MAX];
    uint32_t point_count;
    uint64_t frames, stride; // every stride-th frame is a point
};

struct profile *profile_begin(void) {
    struct profile *profile = calloc(1, sizeof *profile);
    if (profile != NULL)
        profile->stride = 1;
    return profile;
}

void profile_end(struct profile *profile) {
    free(profile);
}

static uint32_t doubling_of(uint64_t value) {
    return 63u - (uint32_t)__builtin_clzll(value | 1);
}

static uint32_t size_bin(uint64_t bytes) {
    if (bytes <= EXACT_BYTES)
        return (uint32_t)bytes;
    const uint32_t doubling = doubling_of(bytes);
    const uint32_t part = (uint32_t)(bytes >> (doubling - 3)) & (PER_DOUBLING - 1);
    return EXACT_BYTES + 1 + (doubling - EXACT_BITS) * PER_DOUBLING + part;
}

static uint64_t size_least(uint32_t bin) {
    if (bin <= EXACT_BYTES)
        return bin;
    const uint32_t above = bin - EXACT_BYTES - 1;
    const uint64_t least = (uint64_t)(PER_DOUBLING + above % PER_DOUBLING) << (above / PER_DOUBLING + EXACT_BITS - 3);
    return least == EXACT_BYTES ? EXACT_BYTES + 1 : least; // that one has a bin of its own
}

static void count_end(struct profile *profile, const struct walk_object *object, uint32_t lifetime_bin, int is_remote) {
    struct cell *cell = &profile->cells[size_bin(object->bytes)][lifetime_bin][is_remote];
    cell->objects++;
    cell->bytes += object->bytes;
}

static void see_event(void *context, uint32_t lane, const struct trace_event *event, const struct walk_object *object,
                      const struct walk_totals *totals) {
    struct profile *profile = context;
    profile->kinds[event->kind]++;
    profile->aligned += event->kind == TRACE_ALIGNED && event->align_bits > 4;
    if (event->kind == TRACE_FREE || event->kind == TRACE_REALLOC)
        count_end(profile, object, doubling_of(totals->objects - object->birth), object->owner != lane);
    if (event->kind == TRACE_FREE)
        profile->freed_by[object->owner][lane]++;
}

// Keeps every stride-th frame's end; when the points are full, every second of them stays.
static void see_frame(void *context, const struct walk_totals *totals) {
    struct profile *profile = context;
    if (profile->frames++ % profile->stride != 0)
        return;
    if (profile->point_count == POINTS_MAX) {
        profile->point_count /= 2;
        profile->stride *= 2;
        for (uint32_t i = 0; i < profile->point_count; i++)
            profile->points[i] = profile->points[2 * i];
    }
    profile->points[profile->point_count++] = (struct point){totals->events, totals->live_bytes, totals->live_objects};
}

static void see_alive(void *context, const struct walk_object *object, const struct walk_totals *totals) {
    (void)totals;
    count_end(context, object, FOREVER, 0);
}

struct walk_visitor profile_visitor(struct profile *profile) {
    return (struct walk_visitor){see_event, see_frame, see_alive, profile};
}

// The peaks in the program's own order, which only the header knows; of a file that was cut off, those of the walk.
static struct cell peak_of(const struct trace_header *header, const struct walk_totals *totals) {
    return totals->events == header->events ? (struct cell){header->slots, header->peak_live_bytes}
                                            : (struct cell){totals->peak_live_objects, totals->peak_live_bytes};
}

static uint64_t share_ppm(uint64_t part, uint64_t of) {
    return of == 0 ? 0 : (uint64_t)((double)part * (double)MILLION / (double)of + 0.5);
}

int profile_print(const struct profile *profile, const struct trace_header *header, const struct walk_totals *totals,
                  FILE *out) {
    const struct cell peak = peak_of(header, totals);
    fprintf(out,
            "# hzbench-profile 1\n# threads %" PRIu32 "\n# objects %" PRIu64 "\n# peak_live_objects %" PRIu64
            "\n# peak_live_bytes %" PRIu64 "\n# calloc_ppm %" PRIu64 "\n# aligned_ppm %" PRIu64
            "\n# realloc_ppm %" PRIu64 "\n",
            header->lanes, totals->objects, peak.objects, peak.bytes,
            share_ppm(profile->kinds[TRACE_CALLOC], totals->objects), share_ppm(profile->aligned, totals->objects),
            share_ppm(profile->kinds[TRACE_REALLOC], totals->objects));
    fputs("size_min,size_max,lifetime_min,lifetime_max,remote,objects,bytes\n", out);
    for (uint32_t size = 0; size < SIZE_BINS; size++) {
        for (uint32_t lifetime = 0; lifetime < LIFETIME_BINS; lifetime++) {
            for (int remote = 0; remote < 2; remote++) {
                const struct cell *cell = &profile->cells[size][lifetime][remote];
                if (cell->objects == 0)
                    continue;
                const uint64_t most = size <= EXACT_BYTES ? size : size_least(size + 1) - 1;
                fprintf(out, "%" PRIu64 ",%" PRIu64 ",", size_least(size), most);
                if (lifetime == FOREVER)
                    fputs(",", out);
                else
                    fprintf(out, "%" PRIu64 ",%" PRIu64, UINT64_C(1) << lifetime, (UINT64_C(2) << lifetime) - 1);
                fprintf(out, ",%d,%" PRIu64 ",%" PRIu64 "\n", remote, cell->objects, cell->bytes);
            }
        }
    }
    return !ferror(out);
}

static void print_summary(const struct profile *profile, const struct trace_header *header,
                          const struct walk_totals *totals, FILE *out) {
    static const char *const kinds[] = {"malloc",  "calloc", "aligned",    "realloc_null",
                                        "realloc", "free",   "usable_size"};
    const struct cell peak = peak_of(header, totals);
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"threads", header->threads},
        {"lanes", header->lanes},
        {"frames", header->frames},
        {"calls", totals->events},
        {"left_out", header->left_out},
        {"objects", totals->objects},
        {"frees", totals->frees},
        {"remote_frees", totals->remote_frees},
        {"left_alive", totals->left_alive},
        {"peak_live_bytes", peak.bytes},
        {"peak_live_objects", peak.objects},
    };
    fprintf(out, "summary,program,,%s\n", header->program);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        fprintf(out, "summary,%s,,%" PRIu64 "\n", numbers[i].name, numbers[i].value);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        fprintf(out, "calls,%s,,%" PRIu64 "\n", kinds[i], profile->kinds[i]);
}

static void print_lifetimes(const struct profile *profile, FILE *out) {
    for (uint32_t lifetime = 0; lifetime < LIFETIME_BINS; lifetime++) {
        uint64_t objects = 0;
        for (uint32_t size = 0; size < SIZE_BINS; size++)
            objects += profile->cells[size][lifetime][0].objects + profile->cells[size][lifetime][1].objects;
        if (objects != 0 && lifetime == FOREVER) {
            fprintf(out, "lifetime,,,%" PRIu64 "\n", objects);
        } else if (objects != 0) {
            fprintf(out, "lifetime,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", UINT64_C(1) << lifetime,
                    (UINT64_C(2) << lifetime) - 1, objects);
        }
    }
}

static void print_sizes(const struct profile *profile, FILE *out) {
    for (uint32_t size = 0; size < SIZE_BINS; size++) {
        uint64_t objects = 0;
        for (uint32_t lifetime = 0; lifetime < LIFETIME_BINS; lifetime++)
            objects += profile->cells[size][lifetime][0].objects + profile->cells[size][lifetime][1].objects;
        if (objects != 0) {
            const uint64_t most = size <= EXACT_BYTES ? size : size_least(size + 1) - 1;
            fprintf(out, "size,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", size_least(size), most, objects);
        }
    }
}

void profile_print_info(const struct profile *profile, const struct trace_header *header,
                        const struct walk_totals *totals, FILE *out) {
    fputs("table,first,second,value\n", out);
    print_summary(profile, header, totals, out);
    print_sizes(profile, out);
    print_lifetimes(profile, out);
    for (uint32_t i = 0; i < profile->point_count; i++) {
        const struct point *point = &profile->points[i];
        fprintf(out, "live,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", point->events, point->live_objects,
                point->live_bytes);
    }
    for (uint32_t owner = 0; owner < header->lanes; owner++) {
        for (uint32_t lane = 0; lane < header->lanes; lane++) {
            if (profile->freed_by[owner][lane] != 0) {
                fprintf(out, "freed,%" PRIu32 ",%" PRIu32 ",%" PRIu64 "\n", owner, lane,
                        profile->freed_by[owner][lane]);
            }
        }
    }
}
