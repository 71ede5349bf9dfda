// SPDX-License-Identifier: Apache-2.0
// Medians and ranges a cell; statistics proper are the scripts' affair. Layer: runner.
#include "summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const double *sorted, size_t count) {
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

struct cell_figures {
    double *times, *peaks, *others; // of the rows that are ok: Mops/s and MiB; of a program seconds and CPU seconds
    size_t time_count, peak_count, other_count;
    size_t ok_count, row_count;
};

// One run of a program is one op, told in seconds.
static int is_program(const struct plan_cell *cell) {
    return strcmp(cell->workload->name, "program") == 0;
}

static void collect(const struct plan *plan, const struct output *output, uint32_t cell, struct cell_figures *figures) {
    figures->time_count = figures->peak_count = figures->other_count = figures->ok_count = figures->row_count = 0;
    for (uint32_t sample = 0; sample < plan->sample_count; sample++) {
        const struct record *row = &output->records[sample];
        if (plan->visits[sample] != cell || !output->is_present[sample])
            continue;
        figures->row_count++;
        if (!record_is_ok(row))
            continue;
        figures->ok_count++;
        if (is_program(&plan->cells[cell])) {
            figures->times[figures->time_count++] = (double)row->measured.elapsed_ns / 1e9;
            figures->others[figures->other_count++] = (double)(row->measured.user_ns + row->measured.system_ns) / 1e9;
        } else if (record_throughput(row) >= 0)
            figures->times[figures->time_count++] = record_throughput(row) / 1e6;
        if (row->measured.rss_peak != NOT_MEASURED)
            figures->peaks[figures->peak_count++] = (double)row->measured.rss_peak / (1 << 20);
        if (row->measured.rss_1s != NOT_MEASURED && !is_program(&plan->cells[cell]))
            figures->others[figures->other_count++] = (double)row->measured.rss_1s / (1 << 20);
    }
    qsort(figures->times, figures->time_count, sizeof(double), compare_doubles);
    qsort(figures->peaks, figures->peak_count, sizeof(double), compare_doubles);
    qsort(figures->others, figures->other_count, sizeof(double), compare_doubles);
}

static void print_median(const double *sorted, size_t count, int width, int decimals) {
    if (count > 0)
        printf("%*.*f", width, decimals, median(sorted, count));
    else
        printf("%*s", width, "-");
}

static void print_cell(const char *allocator, int name_width, const struct cell_figures *figures) {
    char range[64] = "-";
    if (figures->time_count > 0)
        snprintf(range, sizeof range, "%.3f..%.3f", figures->times[0], figures->times[figures->time_count - 1]);
    printf("  %-*s", name_width, allocator);
    print_median(figures->times, figures->time_count, 10, 3);
    printf("  %-20s", range);
    print_median(figures->peaks, figures->peak_count, 10, 2);
    print_median(figures->others, figures->other_count, 14, 2);
    printf("  %zu/%zu\n", figures->ok_count, figures->row_count);
}

static int name_width_of(const struct options *options) {
    size_t width = strlen("allocator");
    for (size_t i = 0; i < options->allocator_count; i++)
        if (strlen(options->allocators[i].text) > width)
            width = strlen(options->allocators[i].text);
    return (int)width;
}

static void print_cells(const struct plan *plan, const struct output *output, struct cell_figures *figures) {
    const struct options *options = plan->options;
    int width = name_width_of(options);
    uint32_t group = UINT32_MAX;
    char text[512];
    for (uint32_t i = 0; i < plan->cell_count; i++) {
        const struct plan_cell *cell = &plan->cells[i];
        if (cell->group != group) {
            plan_cell_text(plan, cell, 0, text, sizeof text);
            printf("%s%s\n  %-*s%10s  %-20s%10s%14s  ok\n", i ? "\n" : "", text, width, "allocator",
                   is_program(cell) ? "s a run" : "Mops/s", "min..max", "peak MiB",
                   is_program(cell) ? "CPU s" : "after 1s MiB");
            group = cell->group;
        }
        collect(plan, output, i, figures);
        print_cell(options->allocators[cell->allocator].text, width, figures);
    }
}

static void print_ops_note(const struct summary_note *note) {
    printf("\nMedians of the samples that are ok; an op is one object's life, its malloc and its free.\n");
    if (note->null_overhead_ns >= 0)
        printf("Harness: %.2f ns an op over the null allocator (local, 1 thread), contained in every figure.\n",
               note->null_overhead_ns);
    else
        printf("Harness: its own cost was not measured: %s\n", note->why);
}

void summary_print(const struct plan *plan, const struct output *output, const struct summary_note *note) {
    size_t runs = plan->options->runs;
    double *values = malloc(3 * runs * sizeof *values);
    if (values == NULL)
        return;
    struct cell_figures figures = {.times = values, .peaks = values + runs, .others = values + 2 * runs};
    print_cells(plan, output, &figures);
    free(values);
    if (is_program(&plan->cells[0]))
        printf("\nMedians of the runs that are ok; CPU and memory are of all processes of the program.\n");
    else
        print_ops_note(note);
    if (output->present_count < plan->sample_count)
        printf("Incomplete: %" PRIu32 " of %" PRIu32 " samples.\n", output->present_count, plan->sample_count);
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
