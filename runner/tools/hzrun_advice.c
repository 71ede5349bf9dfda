// SPDX-License-Identifier: Apache-2.0
// Which allocator for this program, from the rows of a bench: the numbers of each beside the baseline's, and what they
// support in the words of every other run (results/verdict.h). Layer: runner.
#include "hzrun_advise.h"

#include "../results/csv.h"
#include "../results/verdict.h"
#include "../text/wrap.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SIDES VERDICT_MOST_SIDES
#define MOST_ROUNDS SEQUENTIAL_MAX
#define MOST_LINES 12 // of all that is said
#define NAME_WIDTH 20
#define RATIO_WIDTH 21
#define LINE_BYTES 65536

struct side { // one allocator
    uint64_t cell_index;
    size_t copy;              // of an item that is there more than once
    struct verdict_side told; // seconds and bytes
    double cpu[MOST_ROUNDS];  // seconds
    char failure[64];         // of its first row that is not ok; empty: none
};

struct advice {
    struct side sides[MOST_SIDES]; // in the order of the plan
    size_t count, rounds;
    char command[64];
    char work[512];                       // what all rows must have in common
    struct verdict_side good[MOST_SIDES]; // of those without a failure
    struct verdict verdict;               // of these
};

// ---- reading -------------------------------------------------------------------------------------------------------

static struct side *side_of(struct advice *advice, const struct record *record) {
    size_t place = 0, copy = 0;
    for (size_t i = 0; i < advice->count; i++) {
        if (advice->sides[i].cell_index == record->cell_index)
            return &advice->sides[i];
        place += advice->sides[i].cell_index < record->cell_index;
    }
    if (advice->count == MOST_SIDES)
        return NULL;
    memmove(&advice->sides[place + 1], &advice->sides[place], (advice->count - place) * sizeof advice->sides[0]);
    memset(&advice->sides[place], 0, sizeof advice->sides[0]);
    advice->sides[place].cell_index = record->cell_index;
    snprintf(advice->sides[place].told.name, sizeof advice->sides[place].told.name, "%s", record->allocator);
    advice->count++;
    for (size_t i = 0; i < advice->count; i++) // one that is found later may have come first
        if (strcmp(advice->sides[i].told.name, record->allocator) == 0)
            advice->sides[i].copy = copy++;
    return &advice->sides[place];
}

static int take_row(struct advice *advice, const struct record *record) {
    const struct measurement *measured = &record->measured;
    char work[512];
    struct side *side = side_of(advice, record);
    snprintf(work, sizeof work, "%s:%s threads=%" PRIu32, record->workload, record->params.input,
             record->params.threads);
    if (advice->work[0] == '\0')
        memcpy(advice->work, work, sizeof work);
    if (strcmp(advice->work, work) != 0)
        return 0;
    if (side == NULL || record->round >= MOST_ROUNDS)
        return 1;
    snprintf(advice->command, sizeof advice->command, "%.60s%s", record->params.input,
             strlen(record->params.input) > 60 ? "..." : "");
    if (record->round >= advice->rounds)
        advice->rounds = record->round + 1;
    if (!record_is_ok(record)) {
        snprintf(side->failure, sizeof side->failure, "%s: %.50s", record_status_names[record->status],
                 record->message);
        return 1;
    }
    side->told.values[VERDICT_TIME][record->round] = (double)measured->elapsed_ns / 1e9;
    side->told.values[VERDICT_MEMORY][record->round] =
        measured->rss_peak != NOT_MEASURED ? (double)record_memory(record, measured->rss_peak) : 0;
    side->cpu[record->round] = (double)(measured->user_ns + measured->system_ns) / 1e9;
    return 1;
}

static int read_rows(struct advice *advice, const char *file, char *why, size_t why_bytes) {
    static char line[LINE_BYTES];
    char run_id[RECORD_RUN_ID_BYTES];
    static struct record record;
    int is_one = 1;
    FILE *rows = fopen(file, "r");
    if (rows == NULL) {
        snprintf(why, why_bytes, "%s: %s", file, strerror(errno));
        return 0;
    }
    while (is_one && fgets(line, sizeof line, rows) != NULL) {
        const size_t bytes = strcspn(line, "\n");
        if (sscanf(line, "%*d,%16[0-9a-f],", run_id) == 1 && csv_parse(line, bytes, run_id, &record))
            is_one = take_row(advice, &record);
    }
    fclose(rows);
    if (!is_one)
        snprintf(why, why_bytes, "%s: holds more than one workload - scripts/tables tells of each", file);
    else if (advice->count == 0)
        snprintf(why, why_bytes, "%s: has no rows of this version - measure with hzrun bench --output=NAME.csv", file);
    return is_one && advice->count != 0;
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

// ---- printing ------------------------------------------------------------------------------------------------------

static void put_ratio(const struct verdict_ratio *ratio, struct buffer *out) {
    char text[80], middle[24], low[24], high[24];
    snprintf(text, sizeof text, "%s [%s, %s]", verdict_number(exp(ratio->middle), middle),
             verdict_number(exp(ratio->low), low), verdict_number(exp(ratio->high), high));
    buffer_print(out, "  %-*s", RATIO_WIDTH, text);
}

// By the backend's own word for it, as in --list-allocators.
static int is_fail_closed(const char *name) {
    const size_t length = strcspn(name, "{");
    for (size_t i = 0; i < allocator_backend_count; i++)
        if (strlen(allocator_backends[i].name) == length && strncmp(allocator_backends[i].name, name, length) == 0)
            return strstr(allocator_backends[i].summary, "fail-closed") != NULL;
    return 0;
}

static void put_line(struct buffer *out, char *line) {
    for (size_t end = strlen(line); end > 0 && line[end - 1] == ' ';)
        line[--end] = '\0';
    buffer_print(out, "%s\n", line);
}

static void put_row(const struct verdict *verdict, size_t side, struct buffer *out) {
    struct buffer row = {0};
    const char *name = verdict->sides[side].name;
    buffer_print(&row, "  %-*.*s", NAME_WIDTH, NAME_WIDTH, name);
    put_ratio(&verdict->ratios[VERDICT_TIME][side][0], &row);
    put_ratio(&verdict->ratios[VERDICT_MEMORY][side][0], &row);
    buffer_print(&row, "%s", is_fail_closed(name) ? "  refused" : "");
    if (row.bytes != NULL)
        put_line(out, row.bytes);
    free(row.bytes);
}

static void put_head(const struct verdict *verdict, struct buffer *out) {
    const char *base = verdict->sides[0].name;
    char time_head[32], memory_head[32], line[128];
    int is_refusing = 0;
    for (size_t i = 1; i < verdict->count; i++)
        is_refusing |= is_fail_closed(verdict->sides[i].name);
    snprintf(time_head, sizeof time_head, "time / %.14s", base);
    snprintf(memory_head, sizeof memory_head, "memory / %.12s", base);
    snprintf(line, sizeof line, "  %-*s  %-*s  %-*s%s", NAME_WIDTH, "allocator", RATIO_WIDTH, time_head, RATIO_WIDTH,
             memory_head, is_refusing ? "  bad frees" : "");
    if (verdict->count < 2)
        line[strlen("  allocator")] = '\0';
    put_line(out, line);
}

// The sides beside the baseline, the fastest first.
static void rank(const struct verdict *verdict, size_t *order) {
    for (size_t i = 1; i < verdict->count; i++) {
        size_t place = i - 1;
        for (; place > 0 &&
               verdict->ratios[VERDICT_TIME][i][0].middle < verdict->ratios[VERDICT_TIME][order[place - 1]][0].middle;
             place--)
            order[place] = order[place - 1];
        order[place] = i;
    }
}

// Those for which the table has no rows, on one line, time and memory, as many as fit.
static void put_rest(const struct verdict *verdict, const size_t *order, size_t count, struct buffer *out) {
    struct buffer line = {0};
    size_t told = 0;
    buffer_print(&line, "  then:");
    for (; told < count; told++) {
        char item[320], time[24], memory[24];
        const size_t side = order[told];
        const int length = snprintf(item, sizeof item, "%s %s %s, %s", told > 0 ? ";" : "", verdict->sides[side].name,
                                    verdict_number(exp(verdict->ratios[VERDICT_TIME][side][0].middle), time),
                                    verdict_number(exp(verdict->ratios[VERDICT_MEMORY][side][0].middle), memory));
        if ((int)line.used + length + (told + 1 < count ? (int)sizeof "; 10 more" : 0) > WRAP_WIDTH)
            break;
        buffer_print(&line, "%s", item);
    }
    if (told < count)
        buffer_print(&line, "%s %zu more", told > 0 ? ";" : "", count - told);
    buffer_print(out, "%s\n", line.bytes != NULL ? line.bytes : "");
    free(line.bytes);
}

// `room` lines under its head: all that failed come last.
static void put_table(const struct advice *advice, size_t room, struct buffer *out) {
    const struct verdict *verdict = &advice->verdict;
    const size_t good = verdict->count - 1, failed = advice->count - verdict->count;
    const size_t failures = failed < room / 2 ? failed : room / 2; // lines
    const size_t rows = good <= room - failures ? good : room - failures - 1;
    size_t order[MOST_SIDES] = {0}, told = 0;
    rank(verdict, order);
    put_head(verdict, out);
    for (size_t i = 0; i < rows; i++)
        put_row(verdict, order[i], out);
    if (rows < good)
        put_rest(verdict, order + rows, good - rows, out);
    for (size_t i = 0; i < advice->count && told < failures; i++) {
        if (advice->sides[i].failure[0] == '\0')
            continue;
        if (++told == failures && failures < failed)
            buffer_print(out, "  %zu more failed\n", failed - failures + 1);
        else
            buffer_print(out, "  %-*.*s  %.*s\n", NAME_WIDTH, NAME_WIDTH, advice->sides[i].told.name,
                         WRAP_WIDTH - NAME_WIDTH - 4, advice->sides[i].failure);
    }
}

static int put_sentences(const struct verdict *verdict, struct buffer *out) {
    int lines = 0;
    for (int column = VERDICT_TIME; column <= VERDICT_MEMORY; column++) {
        struct buffer text = {0};
        buffer_print(&text, "%s: ", column == VERDICT_TIME ? "Time" : "Memory");
        if (verdict->count < 2)
            buffer_print(&text, "nothing to compare.");
        else if (column == VERDICT_TIME)
            verdict_sentence(verdict, &text);
        else
            verdict_column_sentence(verdict, VERDICT_MEMORY, &text);
        lines += wrap_text(out, text.bytes != NULL ? text.bytes : "out of memory", 0);
        free(text.bytes);
    }
    return lines;
}

static int put_facts(const struct advice *advice, const struct advice_facts *facts, struct buffer *out) {
    const struct side *baseline = &advice->sides[0];
    const double cpu = median(baseline->cpu, advice->rounds);
    struct buffer text = {0};
    buffer_print(&text, "%s: %.3g s a run, %.3g MiB on %s", advice->command,
                 median(baseline->told.values[VERDICT_TIME], advice->rounds),
                 median(baseline->told.values[VERDICT_MEMORY], advice->rounds) / (1 << 20), baseline->told.name);
    if (facts->calls != 0)
        buffer_print(&text, "; %" PRIu64 " calls of malloc and free", facts->calls);
    if (facts->allocator_cpu >= 0 && cpu > 0 && facts->allocator_cpu < 0.01 * cpu)
        buffer_print(&text, ", less than 1 %% of its CPU time");
    else if (facts->allocator_cpu >= 0 && cpu > 0)
        buffer_print(&text, ", %.0f %% of its CPU time", 100 * fmin(facts->allocator_cpu / cpu, 1));
    buffer_print(&text, ".");
    const int lines = wrap_text(out, text.bytes != NULL ? text.bytes : "out of memory", 0);
    free(text.bytes);
    return lines;
}

// What is said is short, and the table has the lines that are left.
static void print_advice(const struct advice *advice, const struct advice_facts *facts) {
    struct buffer out = {0}, sentences = {0};
    size_t bytes;
    const int used = put_facts(advice, facts, &out) + put_sentences(&advice->verdict, &sentences) + 1;
    put_table(advice, used + 2 < MOST_LINES ? (size_t)(MOST_LINES - used) : 2, &out);
    buffer_print(&out, "%s", sentences.bytes != NULL ? sentences.bytes : "");
    char *whole = buffer_take(&out, &bytes);
    fputs(whole != NULL ? whole : "out of memory\n", stdout);
    free(whole);
    free(sentences.bytes);
}

double advice_cpu(const char *file, const char *allocator) {
    struct advice *advice = calloc(1, sizeof *advice);
    char ignored[512];
    double found = -1;
    if (advice != NULL && read_rows(advice, file, ignored, sizeof ignored))
        for (size_t i = 0; i < advice->count; i++)
            if (strcmp(advice->sides[i].told.name, allocator) == 0)
                found = median(advice->sides[i].cpu, advice->rounds);
    free(advice);
    return found;
}

// Those that never failed, the baseline first. 0: that failed.
static int take_good(struct advice *advice, char *why, size_t why_bytes) {
    size_t count = 0;
    for (size_t i = 0; i < advice->count; i++) {
        if (advice->sides[i].failure[0] != '\0')
            continue;
        advice->good[count] = advice->sides[i].told;
        verdict_name(advice->sides[i].told.name, advice->sides[i].copy, advice->good[count].name,
                     sizeof advice->good[count].name);
        count++;
    }
    verdict_make(&advice->verdict, advice->good, count, 0);
    if (count == 0 || advice->sides[0].failure[0] != '\0')
        snprintf(why, why_bytes, "%s fails already on %s: %s", advice->command, advice->sides[0].told.name,
                 advice->sides[0].failure);
    return count != 0 && advice->sides[0].failure[0] == '\0';
}

int advice_print(const char *file, const struct advice_facts *facts, char *why, size_t why_bytes) {
    struct advice *advice = calloc(1, sizeof *advice);
    const int is_told = advice != NULL && read_rows(advice, file, why, why_bytes) && take_good(advice, why, why_bytes);
    if (is_told)
        print_advice(advice, facts);
    free(advice);
    return is_told;
}
