// SPDX-License-Identifier: Apache-2.0
// Which allocator for this program, from the rows of a bench. Every statement about two allocators rests on an exact
// interval of their ratio in the same rounds, with an error that all pairs of a column share: a name stands in front
// only when the data separates it from each of the others. Layer: runner.
#include "hzrun_advise.h"

#include "../plan/sequential.h"
#include "../results/csv.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SIDES 24
#define MOST_ROUNDS SEQUENTIAL_MAX
#define MOST_LINES 8 // of the table
#define ERROR 0.05   // of all pairs of a column together
#define MARGIN 0.02  // what nobody notices
#define LINE_BYTES 65536

enum column { TIME, MEMORY, COLUMN_COUNT };

struct side { // one allocator
    char name[64];
    double values[COLUMN_COUNT][MOST_ROUNDS]; // by round; 0: none
    double cpu[MOST_ROUNDS];                  // seconds
    char failure[64];                         // of its first row that is not ok; empty: none
};

struct advice {
    struct side sides[MOST_SIDES];
    size_t count, rounds;
    char command[64];
    double error; // of one pair
};

struct ratio {
    double middle, low, high; // of logarithms
    int is_known;             // enough rounds for an interval
};

// ---- reading -------------------------------------------------------------------------------------------------------

static struct side *side_of(struct advice *advice, const char *name) {
    for (size_t i = 0; i < advice->count; i++)
        if (strcmp(advice->sides[i].name, name) == 0)
            return &advice->sides[i];
    if (advice->count == MOST_SIDES)
        return NULL;
    struct side *side = &advice->sides[advice->count++];
    snprintf(side->name, sizeof side->name, "%s", name);
    return side;
}

static void take_row(struct advice *advice, const struct record *record) {
    const struct measurement *measured = &record->measured;
    struct side *side = side_of(advice, record->allocator);
    if (side == NULL || record->round >= MOST_ROUNDS)
        return;
    snprintf(advice->command, sizeof advice->command, "%.60s%s", record->params.input,
             strlen(record->params.input) > 60 ? "..." : "");
    if (record->round >= advice->rounds)
        advice->rounds = record->round + 1;
    if (!record_is_ok(record)) {
        snprintf(side->failure, sizeof side->failure, "%s: %.50s", record_status_names[record->status],
                 record->message);
        return;
    }
    side->values[TIME][record->round] = (double)measured->elapsed_ns / 1e9;
    side->values[MEMORY][record->round] = measured->rss_peak != NOT_MEASURED ? (double)measured->rss_peak : 0;
    side->cpu[record->round] = (double)(measured->user_ns + measured->system_ns) / 1e9;
}

static int read_rows(struct advice *advice, const char *file, char *why, size_t why_bytes) {
    static char line[LINE_BYTES];
    char run_id[RECORD_RUN_ID_BYTES];
    static struct record record;
    FILE *rows = fopen(file, "r");
    if (rows == NULL) {
        snprintf(why, why_bytes, "%s: %s", file, strerror(errno));
        return 0;
    }
    while (fgets(line, sizeof line, rows) != NULL) {
        const size_t bytes = strcspn(line, "\n");
        if (sscanf(line, "%*d,%16[0-9a-f],", run_id) == 1 && csv_parse(line, bytes, run_id, &record))
            take_row(advice, &record);
    }
    fclose(rows);
    if (advice->count == 0)
        snprintf(why, why_bytes, "%s: has no rows of this version - measure with hzrun bench --output=NAME.csv", file);
    return advice->count != 0;
}

// The baseline comes first in the plan; its rows may not.
static void order_sides(struct advice *advice) {
    for (size_t i = 1; i < advice->count; i++)
        if (strcmp(advice->sides[i].name, "system") == 0) {
            struct side *kept = malloc(sizeof *kept);
            if (kept == NULL)
                return;
            *kept = advice->sides[0];
            advice->sides[0] = advice->sides[i];
            advice->sides[i] = *kept;
            free(kept);
        }
}

// ---- statistics ----------------------------------------------------------------------------------------------------

static int compare(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const double *values, size_t count) {
    double sorted[MOST_ROUNDS] = {0};
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        if (values[i] > 0)
            sorted[used++] = values[i];
    qsort(sorted, used, sizeof *sorted, compare);
    return used == 0 ? -1 : used % 2 ? sorted[used / 2] : (sorted[used / 2 - 1] + sorted[used / 2]) / 2;
}

// `side` to `other` in the rounds that both have.
static struct ratio ratio_of(const struct advice *advice, const struct side *side, const struct side *other,
                             enum column column) {
    double differences[MOST_ROUNDS];
    struct ratio ratio = {.low = -INFINITY, .high = INFINITY};
    double low = 0, high = 0;
    size_t used = 0;
    for (size_t i = 0; i < advice->rounds; i++)
        if (side->values[column][i] > 0 && other->values[column][i] > 0)
            differences[used++] = log(side->values[column][i] / other->values[column][i]);
    if (used > 0 && sequential_interval(differences, used, 1, &low, &high))
        ratio.middle = (low + high) / 2;
    ratio.is_known = sequential_interval(differences, used, advice->error, &ratio.low, &ratio.high);
    return ratio;
}

static int is_same(const struct ratio *ratio) {
    return ratio->is_known && sequential_decide(ratio->low, ratio->high, log1p(MARGIN)) == SEQUENTIAL_SAME;
}

// ---- printing ------------------------------------------------------------------------------------------------------

static void print_ratio(const struct ratio *ratio) {
    char text[48];
    if (ratio->is_known)
        snprintf(text, sizeof text, "%.2f [%.2f, %.2f]", exp(ratio->middle), exp(ratio->low), exp(ratio->high));
    else
        snprintf(text, sizeof text, "%.2f [0, inf]", exp(ratio->middle));
    printf("  %-20s", text);
}

struct ranked {
    const struct side *side;
    struct ratio ratios[COLUMN_COUNT]; // to the baseline
};

static int compare_ranked(const void *left, const void *right) {
    const struct ranked *a = left, *b = right;
    const double first = a->ratios[TIME].middle, second = b->ratios[TIME].middle;
    return (first > second) - (first < second);
}

// By the backend's own word for it, as in --list-allocators.
static int is_fail_closed(const char *name) {
    const size_t length = strcspn(name, "{");
    for (size_t i = 0; i < allocator_backend_count; i++)
        if (strlen(allocator_backends[i].name) == length && strncmp(allocator_backends[i].name, name, length) == 0)
            return strstr(allocator_backends[i].summary, "fail-closed") != NULL;
    return 0;
}

static void print_table(const struct advice *advice, const struct ranked *ranked, size_t count) {
    printf("  %-10s  %-20s  %-20s\n", "allocator", "time", "peak memory");
    for (size_t i = 0; i < count && i < MOST_LINES; i++) {
        printf("  %-10.20s", ranked[i].side->name);
        print_ratio(&ranked[i].ratios[TIME]);
        print_ratio(&ranked[i].ratios[MEMORY]);
        puts(is_fail_closed(ranked[i].side->name) ? "  refuses bad frees" : "");
    }
    size_t lines = count < MOST_LINES ? count : MOST_LINES;
    for (size_t i = 0; i < advice->count && lines < MOST_LINES; i++)
        if (advice->sides[i].failure[0] != '\0') {
            printf("  %-10.20s  %s\n", advice->sides[i].name, advice->sides[i].failure);
            lines++;
        }
}

// "a, b and c" of those that are marked.
static void print_names(const struct ranked *ranked, const int *marks, size_t count, int mark) {
    size_t left = 0, printed = 0;
    for (size_t i = 0; i < count; i++)
        left += marks[i] == mark;
    for (size_t i = 0; i < count; i++)
        if (marks[i] == mark) {
            printf("%s%s", printed == 0 ? "" : printed + 1 == left ? " and " : ", ", ranked[i].side->name);
            printed++;
        }
}

static void print_winner(const struct ranked *winner, const struct side *baseline, enum column column) {
    const struct ratio *ratio = &winner->ratios[column];
    if (winner->side == baseline)
        printf("%s needs the least %s, less than each of the others.\n", baseline->name,
               column == TIME ? "time" : "memory");
    else
        printf("%s needs the least, %.0f %% [%.0f, %.0f] less than %s.\n", winner->side->name,
               -100 * expm1(ratio->middle), -100 * expm1(ratio->high), -100 * expm1(ratio->low), baseline->name);
}

// One sentence about a column.
static void print_sentence(const struct advice *advice, const struct ranked *ranked, size_t count, enum column column) {
    enum { APART = 0, TOGETHER = 1 };
    int marks[MOST_SIDES], together = 0, same = 0, known = 0;
    const struct ranked *best = &ranked[0];
    for (size_t i = 0; i < count; i++) {
        best = ranked[i].ratios[column].middle < best->ratios[column].middle ? &ranked[i] : best;
        same += ranked[i].side == &advice->sides[0] || is_same(&ranked[i].ratios[column]);
        known += ranked[i].ratios[column].is_known;
    }
    for (size_t i = 0; i < count; i++) {
        const struct ratio ratio = ratio_of(advice, best->side, ranked[i].side, column);
        marks[i] = &ranked[i] == best || !ratio.is_known || ratio.high >= 0 ? TOGETHER : APART;
        together += marks[i] == TOGETHER;
    }
    printf("%s: ", column == TIME ? "Time" : "Memory");
    if (count < 2)
        puts("nothing to compare.");
    else if (known == 0)
        printf("%zu rounds decide nothing about %zu allocators - take more, such as --runs=%d.\n", advice->rounds,
               count, (int)ceil(log2(2 / advice->error)) + 2);
    else if (same == (int)count)
        puts("no difference you could notice (all within 2 %).");
    else if (together == 1)
        print_winner(best, advice->sides, column);
    else {
        print_names(ranked, marks, count, TOGETHER);
        fputs(" cannot be told apart", stdout);
        if (together < (int)count) {
            fputs(column == TIME ? "; slower than the best of them: " : "; more than the least of them: ", stdout);
            print_names(ranked, marks, count, APART);
        }
        puts(".");
    }
}

static void print_facts(const struct advice *advice, const struct advice_facts *facts) {
    const struct side *baseline = &advice->sides[0];
    const double cpu = median(baseline->cpu, advice->rounds);
    printf("%s: %.3g s a run, %.3g MiB on %s", advice->command, median(baseline->values[TIME], advice->rounds),
           median(baseline->values[MEMORY], advice->rounds) / (1 << 20), baseline->name);
    if (facts->calls != 0)
        printf("; %" PRIu64 " calls of malloc and free", facts->calls);
    if (facts->allocator_cpu >= 0 && cpu > 0 && facts->allocator_cpu < 0.01 * cpu)
        fputs(", less than 1 % of its CPU time", stdout);
    else if (facts->allocator_cpu >= 0 && cpu > 0)
        printf(", %.0f %% of its CPU time", 100 * fmin(facts->allocator_cpu / cpu, 1));
    puts(".");
}

double advice_cpu(const char *file, const char *allocator) {
    struct advice *advice = calloc(1, sizeof *advice);
    char ignored[512];
    double found = -1;
    if (advice != NULL && read_rows(advice, file, ignored, sizeof ignored))
        for (size_t i = 0; i < advice->count; i++)
            if (strcmp(advice->sides[i].name, allocator) == 0)
                found = median(advice->sides[i].cpu, advice->rounds);
    free(advice);
    return found;
}

int advice_print(const char *file, const struct advice_facts *facts, char *why, size_t why_bytes) {
    struct advice *advice = calloc(1, sizeof *advice);
    struct ranked ranked[MOST_SIDES], others[MOST_SIDES];
    size_t count = 0, other_count = 0;
    if (advice == NULL || !read_rows(advice, file, why, why_bytes)) {
        free(advice);
        return 0;
    }
    order_sides(advice);
    for (size_t i = 0; i < advice->count; i++)
        if (advice->sides[i].failure[0] == '\0')
            ranked[count++].side = &advice->sides[i];
    if (count == 0 || ranked[0].side != advice->sides) {
        snprintf(why, why_bytes, "%s fails already on %s: %s", advice->command, advice->sides[0].name,
                 advice->sides[0].failure);
        free(advice);
        return 0;
    }
    advice->error = count > 1 ? ERROR / ((double)count * (double)(count - 1) / 2) : ERROR;
    for (size_t i = 0; i < count; i++)
        for (int column = 0; column < COLUMN_COUNT; column++)
            ranked[i].ratios[column] = ratio_of(advice, ranked[i].side, advice->sides, (enum column)column);
    qsort(ranked, count, sizeof *ranked, compare_ranked);
    for (size_t i = 0; i < count; i++)
        if (ranked[i].side != advice->sides)
            others[other_count++] = ranked[i];
    print_facts(advice, facts);
    print_table(advice, others, other_count);
    print_sentence(advice, ranked, count, TIME);
    print_sentence(advice, ranked, count, MEMORY);
    free(advice);
    return 1;
}
