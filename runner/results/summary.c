// SPDX-License-Identifier: Apache-2.0
// Sentences, medians and ranges a cell, within the 80 columns of a terminal; more is the scripts' affair. Layer:
// runner.
#include "summary.h"

#include "../../workloads/app_table.h"
#include "../text/wrap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_WIDTH 16
#define PEAK_WIDTH 10
#define OTHER_WIDTH 14
#define OK_WIDTH 8
#define LATENCY_WIDTH 7
#define PERCENTILES 3

static int compare_doubles(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

// Sorts.
static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare_doubles);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

// ---- what cells are ------------------------------------------------------------------------------------------------

static const struct allocator_spec *spec_of(const struct plan *plan, uint32_t cell) {
    return &plan->options->allocators[plan->cells[cell].allocator];
}

static int is_null(const struct plan *plan, uint32_t cell) {
    return strcmp(spec_of(plan, cell)->name, "null") == 0;
}

uint32_t summary_base_of(const struct plan *plan, uint32_t cell) {
    uint32_t base = cell;
    if (is_null(plan, cell))
        return cell;
    for (uint32_t other = cell; other-- > 0 && plan->cells[other].group == plan->cells[cell].group;)
        if (!is_null(plan, other))
            base = other;
    return base;
}

void summary_name_of(const struct plan *plan, uint32_t cell, char *out, size_t out_bytes) {
    const char *label = spec_of(plan, cell)->label;
    size_t copy = 0;
    for (size_t i = 0; i < plan->cells[cell].allocator; i++)
        copy += strcmp(plan->options->allocators[i].label, label) == 0;
    verdict_name(label, copy, out, out_bytes);
}

enum kind { OBJECTS, APP, PROGRAM }; // what an op of a cell is

static enum kind kind_of(const struct plan_cell *cell) {
    return strcmp(cell->workload->name, "program") == 0 ? PROGRAM : cell->workload->is_program ? APP : OBJECTS;
}

// Names the one unit of a table whose fastest cell makes that many ops a second; returns its size.
static double unit_of(const struct plan_cell *cell, double fastest, char *out, size_t out_bytes) {
    static const struct {
        const char *prefix;
        double size;
    } units[] = {{"G ", 1e9}, {"M ", 1e6}, {"k ", 1e3}, {"", 1}};
    const struct app *app = kind_of(cell) == APP ? app_find(cell->params.input) : NULL;
    size_t i = fastest > 0 ? 0 : 1; // nothing was measured: M
    if (kind_of(cell) != OBJECTS) {
        snprintf(out, out_bytes, kind_of(cell) == PROGRAM ? "s a run" : "%s/s", app != NULL ? app->unit : "ops");
        return 1;
    }
    while (fastest > 0 && fastest < units[i].size && units[i].size > 1)
        i++;
    snprintf(out, out_bytes, "%sops/s", units[i].prefix);
    return units[i].size;
}

// ---- the sentence --------------------------------------------------------------------------------------------------

static void print_wrapped(const char *text, int indent) {
    struct buffer lines = {0};
    size_t bytes;
    wrap_text(&lines, text, indent);
    char *whole = buffer_take(&lines, &bytes);
    fputs(whole != NULL ? whole : "", stdout);
    free(whole);
}

struct sides { // too large for a stack
    struct verdict_side sides[VERDICT_MOST_SIDES];
    struct verdict verdict;
};

// Fills a side with the rows of a cell. 0: one failed, or there is none.
static int take_side(const struct plan *plan, const struct output *output, uint32_t cell, struct verdict_side *side) {
    int count = 0;
    memset(side, 0, sizeof *side);
    summary_name_of(plan, cell, side->name, sizeof side->name);
    for (uint32_t sample = 0; sample < plan->sample_count; sample++) {
        const struct record *row = &output->records[sample];
        if (plan->visits[sample] != cell || !output->is_present[sample])
            continue;
        if (!record_is_ok(row) || record_throughput(row) <= 0)
            return 0;
        count++;
        if (row->round >= SEQUENTIAL_MAX)
            continue;
        side->values[VERDICT_TIME][row->round] = 1 / record_throughput(row);
        side->values[VERDICT_MEMORY][row->round] =
            row->measured.rss_peak != NOT_MEASURED ? (double)record_memory(row, row->measured.rss_peak) : 0;
    }
    return count > 0;
}

// By --rounds-until each pair was decided on its own.
static void say_decided(const struct plan *plan, const struct verdict_ratio *decided, uint32_t first, uint32_t end,
                        int is_bound, struct buffer *out) {
    char name[256], base_name[256];
    int count = 0;
    for (uint32_t cell = first; cell < end; cell++) {
        const uint32_t base = summary_base_of(plan, cell);
        if (base == cell)
            continue;
        summary_name_of(plan, cell, name, sizeof name);
        summary_name_of(plan, base, base_name, sizeof base_name);
        buffer_print(out, "%s", count++ > 0 ? "; " : "");
        struct verdict_ratio ratio = decided[cell];
        verdict_bind(&ratio, is_bound);
        verdict_pair(name, base_name, &ratio, plan->options->rounds_until_ppm / 1e6, out);
    }
    buffer_print(out, "%s", count > 0 ? "." : "");
}

static void say_cell(const struct plan *plan, const struct output *output, const struct summary_note *note,
                     uint32_t first, uint32_t end, double share, struct sides *room) {
    const int is_bound = share > VERDICT_HARNESS;
    struct buffer text = {0}, failed = {0};
    size_t count = 0, bytes;
    char name[256];
    for (uint32_t cell = first; cell < end; cell++) {
        if (is_null(plan, cell))
            continue;
        summary_name_of(plan, cell, name, sizeof name);
        if (count < VERDICT_MOST_SIDES && take_side(plan, output, cell, &room->sides[count]))
            count++;
        else
            buffer_print(&failed, "%s%s", failed.used == 0 ? "" : ", ", name);
    }
    if (note->decided != NULL)
        say_decided(plan, note->decided, first, end, is_bound, &text);
    else if (count > 1) {
        verdict_make(&room->verdict, room->sides, count, is_bound);
        verdict_sentence(&room->verdict, &text);
    }
    if (is_bound && text.used > 0)
        buffer_print(&text, " Harness-bound: null takes %.0f %% of the fastest allocator's time, so ratios are bounds.",
                     100 * share);
    if (failed.used > 0 && (text.used > 0 || count > 0))
        buffer_print(&text, "%sWithout good samples throughout: %s.", text.used > 0 ? " " : "", failed.bytes);
    char *whole = buffer_take(&text, &bytes);
    if (whole != NULL && bytes > 0)
        print_wrapped(whole, 2);
    free(whole);
    free(failed.bytes);
}

// ---- the table -----------------------------------------------------------------------------------------------------

struct cell_figures {
    double *times, *peaks, *others; // of the rows that are ok: ops/s and MiB; of a program seconds and CPU seconds
    size_t time_count, peak_count, other_count;
    size_t ok_count, row_count;
};

static void collect_row(const struct record *row, enum kind kind, struct cell_figures *figures) {
    const struct measurement *measured = &row->measured;
    figures->ok_count++;
    if (kind == PROGRAM)
        figures->times[figures->time_count++] = (double)measured->elapsed_ns / 1e9;
    else if (record_throughput(row) >= 0)
        figures->times[figures->time_count++] = record_throughput(row);
    if (measured->rss_peak != NOT_MEASURED)
        figures->peaks[figures->peak_count++] = (double)record_memory(row, measured->rss_peak) / (1 << 20);
    if (kind != OBJECTS)
        figures->others[figures->other_count++] = (double)(measured->user_ns + measured->system_ns) / 1e9;
    else if (measured->rss_1s != NOT_MEASURED)
        figures->others[figures->other_count++] = (double)record_memory(row, measured->rss_1s) / (1 << 20);
}

static void collect(const struct plan *plan, const struct output *output, uint32_t cell, struct cell_figures *figures) {
    figures->time_count = figures->peak_count = figures->other_count = figures->ok_count = figures->row_count = 0;
    for (uint32_t sample = 0; sample < plan->sample_count; sample++) {
        const struct record *row = &output->records[sample];
        if (plan->visits[sample] != cell || !output->is_present[sample])
            continue;
        figures->row_count++;
        if (record_is_ok(row))
            collect_row(row, kind_of(&plan->cells[cell]), figures);
    }
}

static void print_median(double *values, size_t count, int width) {
    char text[24] = "-";
    if (count > 0)
        verdict_number(median(values, count), text);
    printf("%*s", width, text);
}

// A name that has no room in its column stands on a line of its own.
static void print_name(const char *name, int width) {
    if ((int)strlen(name) > width)
        printf("  %s\n  %*s", name, width, "");
    else
        printf("  %-*s", width, name);
}

// The last column but one is left out where nothing of it was measured: `other_width` is 0.
static void print_cell(const char *name, int name_width, int rate_width, int other_width, double unit_size,
                       struct cell_figures *figures) {
    char range[64] = "-", low[24], high[24];
    for (size_t i = 0; i < figures->time_count; i++)
        figures->times[i] /= unit_size;
    print_name(name, name_width);
    print_median(figures->times, figures->time_count, rate_width); // sorts
    if (figures->time_count > 0)
        snprintf(range, sizeof range, "%s..%s", verdict_number(figures->times[0], low),
                 verdict_number(figures->times[figures->time_count - 1], high));
    printf("  %-*s", RANGE_WIDTH, range);
    print_median(figures->peaks, figures->peak_count, PEAK_WIDTH);
    if (other_width > 0)
        print_median(figures->others, figures->other_count, other_width);
    snprintf(range, sizeof range, "%zu/%zu", figures->ok_count, figures->row_count);
    printf("%*s\n", OK_WIDTH, range);
}

// Of the longest name that has room, in all cells.
static int name_width_of(const struct plan *plan, int room) {
    int width = (int)strlen("allocator");
    char name[256];
    for (uint32_t cell = 0; cell < plan->cell_count; cell++) {
        summary_name_of(plan, cell, name, sizeof name);
        if ((int)strlen(name) <= room && (int)strlen(name) > width)
            width = (int)strlen(name);
    }
    return width;
}

static void print_table(const struct plan *plan, const struct output *output, uint32_t first, uint32_t end,
                        struct cell_figures *figures) {
    const enum kind kind = kind_of(&plan->cells[first]);
    char unit[64], name[256];
    double fastest = 0;
    int other_width = 0;
    for (uint32_t cell = first; cell < end; cell++) {
        collect(plan, output, cell, figures);
        other_width = figures->other_count > 0 ? OTHER_WIDTH : other_width;
        const double speed = figures->time_count > 0 ? median(figures->times, figures->time_count) : 0;
        fastest = speed > fastest ? speed : fastest;
    }
    const double unit_size = unit_of(&plan->cells[first], fastest, unit, sizeof unit);
    const int rate_width = strlen(unit) + 2 > 9 ? (int)strlen(unit) + 2 : 9;
    const int name_width =
        name_width_of(plan, WRAP_WIDTH - 2 - rate_width - 2 - RANGE_WIDTH - PEAK_WIDTH - OTHER_WIDTH - OK_WIDTH);
    const char *other = other_width == 0 ? "" : kind == OBJECTS ? "MiB after 1s" : "CPU s";
    printf("  %-*s%*s  %-*s%*s%*s%*s\n", name_width, "allocator", rate_width, unit, RANGE_WIDTH, "min..max", PEAK_WIDTH,
           "peak MiB", other_width, other, OK_WIDTH, "ok");
    for (uint32_t cell = first; cell < end; cell++) {
        summary_name_of(plan, cell, name, sizeof name);
        collect(plan, output, cell, figures);
        print_cell(name, name_width, rate_width, other_width, unit_size, figures);
    }
}

// ---- latencies -----------------------------------------------------------------------------------------------------

static uint64_t percentile_of(const struct latency *latency, int which) {
    return which == 0 ? latency->p50_ns : which == 1 ? latency->p99_ns : latency->p999_ns;
}

// Median over the samples of a cell; negative: nothing was timed.
static double latency_of(const struct plan *plan, const struct output *output, uint32_t cell, int call, int which,
                         double *values) {
    size_t count = 0;
    for (uint32_t sample = 0; sample < plan->sample_count; sample++) {
        const struct record *row = &output->records[sample];
        const struct latency *latency = &row->measured.latency[call];
        if (plan->visits[sample] == cell && output->is_present[sample] && record_is_ok(row) &&
            latency->count != NOT_MEASURED && latency->count > 0)
            values[count++] = (double)percentile_of(latency, which);
    }
    return count > 0 ? median(values, count) : -1;
}

static void print_latencies(const struct plan *plan, const struct output *output, uint32_t first, uint32_t end,
                            double *values) {
    static const char *const titles[CALL_COUNT] = {"malloc, ns", "free, ns", "free of others, ns"};
    int is_there[CALL_COUNT] = {0}, calls = 0;
    char name[256];
    for (int call = 0; call < CALL_COUNT; call++) {
        for (uint32_t cell = first; cell < end; cell++)
            is_there[call] |= latency_of(plan, output, cell, call, 0, values) >= 0;
        calls += is_there[call];
    }
    if (calls == 0)
        return;
    const int width = name_width_of(plan, WRAP_WIDTH - 2 - calls * PERCENTILES * LATENCY_WIDTH);
    printf("  %-*s", width, "latency");
    for (int call = 0; call < CALL_COUNT; call++)
        if (is_there[call])
            printf("%*s", PERCENTILES * LATENCY_WIDTH, titles[call]);
    printf("\n  %-*s", width, "allocator");
    for (int call = 0; call < calls; call++)
        printf("%*s%*s%*s", LATENCY_WIDTH, "p50", LATENCY_WIDTH, "p99", LATENCY_WIDTH, "p99.9");
    putchar('\n');
    for (uint32_t cell = first; cell < end; cell++) {
        summary_name_of(plan, cell, name, sizeof name);
        print_name(name, width);
        for (int slot = 0; slot < CALL_COUNT * PERCENTILES; slot++) {
            const double ns = latency_of(plan, output, cell, slot / PERCENTILES, slot % PERCENTILES, values);
            if (is_there[slot / PERCENTILES] && ns < 0)
                printf("%*s", LATENCY_WIDTH, "-");
            else if (is_there[slot / PERCENTILES])
                printf("%*.0f", LATENCY_WIDTH, ns);
        }
        putchar('\n');
    }
}

// Null's share of the fastest allocator's time; 0 where null was not measured, or nobody else.
static double harness_share(const struct plan *plan, const struct output *output, uint32_t first, uint32_t end,
                            struct cell_figures *figures) {
    double fastest = 0, null = 0;
    for (uint32_t cell = first; cell < end; cell++) {
        collect(plan, output, cell, figures);
        const double speed = figures->time_count > 0 ? median(figures->times, figures->time_count) : 0;
        double *const of = is_null(plan, cell) ? &null : &fastest;
        *of = speed > *of ? speed : *of;
    }
    return null > 0 && kind_of(&plan->cells[first]) == OBJECTS ? fastest / null : 0;
}

// ---- the whole -----------------------------------------------------------------------------------------------------

static void print_cells(const struct plan *plan, const struct output *output, const struct summary_note *note,
                        double *values, struct sides *room) {
    const size_t runs = plan->options->runs;
    struct cell_figures figures = {.times = values, .peaks = values + runs, .others = values + 2 * runs};
    char text[512];
    for (uint32_t first = 0, end; first < plan->cell_count; first = end) {
        for (end = first + 1; end < plan->cell_count && plan->cells[end].group == plan->cells[first].group;)
            end++;
        plan_cell_text(plan, &plan->cells[first], 0, text, sizeof text);
        fputs(first > 0 ? "\n" : "", stdout);
        print_wrapped(text, 0);
        say_cell(plan, output, note, first, end, harness_share(plan, output, first, end, &figures), room);
        print_table(plan, output, first, end, &figures);
        if (plan->options->latency_every != 0)
            print_latencies(plan, output, first, end, values);
    }
}

static void print_notes(const struct plan *plan, const struct summary_note *note) {
    int objects = 0, programs = 0;
    char text[640];
    for (uint32_t i = 0; i < plan->cell_count; i++) {
        objects += kind_of(&plan->cells[i]) == OBJECTS;
        programs += kind_of(&plan->cells[i]) != OBJECTS;
    }
    putchar('\n');
    print_wrapped(objects > 0
                      ? "Medians of the samples that are ok; an op is one object's life, its malloc and its free. "
                        "Memory is without the harness's own."
                      : "Medians of the runs that are ok.",
                  0);
    if (programs > 0)
        print_wrapped("CPU and memory of a program are of all its processes.", 0);
    if (objects == 0)
        return;
    if (note->null_overhead_ns >= 0)
        snprintf(text, sizeof text,
                 "Harness: %.2f ns an op over the null allocator (local, 1 thread), contained in every figure.",
                 note->null_overhead_ns);
    else
        snprintf(text, sizeof text, "Harness: its own cost was not measured: %s", note->why);
    print_wrapped(text, 0);
}

void summary_print(const struct plan *plan, const struct output *output, const struct summary_note *note) {
    double *values = malloc(3 * (size_t)plan->options->runs * sizeof *values);
    struct sides *room = malloc(sizeof *room);
    if (values != NULL && room != NULL) {
        print_cells(plan, output, note, values, room);
        print_notes(plan, note);
        if (!note->is_finished)
            printf("Incomplete: %" PRIu32 " of %" PRIu32 " samples.\n", output->present_count, plan->sample_count);
    }
    free(values);
    free(room);
}

int summary_exit_code(const struct plan *plan, const struct output *output) {
    int code = EXIT_CODE_OK;
    for (uint32_t sample = 0; sample < plan->sample_count; sample++) {
        const struct record *row = &output->records[sample];
        if (!output->is_present[sample] || record_is_ok(row))
            continue;
        if (row->status != STATUS_UNAVAILABLE)
            return EXIT_CODE_FAILED;
        code = EXIT_CODE_UNAVAILABLE;
    }
    return code;
}
