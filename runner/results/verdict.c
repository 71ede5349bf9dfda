// SPDX-License-Identifier: Apache-2.0
// Ratios of all pairs, what they decide, and the words for it. Layer: runner, results.
#include "verdict.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR 0.05
#define MOST_PAIRS (VERDICT_MOST_SIDES * (VERDICT_MOST_SIDES - 1) / 2)

// ---- statistics ----------------------------------------------------------------------------------------------------

static struct verdict_ratio ratio_of(const struct verdict *verdict, enum verdict_column column, size_t one,
                                     size_t other) {
    const double *values = verdict->sides[one].values[column], *others = verdict->sides[other].values[column];
    struct verdict_ratio ratio = {.low = -INFINITY, .high = INFINITY, .decision = SEQUENTIAL_OPEN};
    double differences[SEQUENTIAL_MAX];
    size_t used = 0;
    for (size_t i = 0; i < SEQUENTIAL_MAX; i++)
        if (values[i] > 0 && others[i] > 0)
            differences[used++] = log(values[i] / others[i]);
    ratio.middle = sequential_middle(differences, used);
    ratio.chance = sequential_chance(differences, used);
    ratio.is_known = sequential_interval(differences, used, ERROR, &ratio.low, &ratio.high);
    return ratio;
}

static struct verdict_ratio turned(const struct verdict_ratio *ratio) {
    struct verdict_ratio other = *ratio;
    other.middle = -ratio->middle;
    other.low = -ratio->high;
    other.high = -ratio->low;
    if (ratio->decision == SEQUENTIAL_LESS || ratio->decision == SEQUENTIAL_MORE)
        other.decision = ratio->decision == SEQUENTIAL_LESS ? SEQUENTIAL_MORE : SEQUENTIAL_LESS;
    return other;
}

static int compare_chances(const void *left, const void *right) {
    const double a = (*(const struct verdict_ratio *const *)left)->chance;
    const double b = (*(const struct verdict_ratio *const *)right)->chance;
    return (a > b) - (a < b);
}

// Benjamini and Hochberg: the pairs up to the last one whose chance is below its share of the error are discoveries.
static void decide(struct verdict *verdict, enum verdict_column column, int is_bound) {
    struct verdict_ratio *pairs[MOST_PAIRS] = {NULL};
    size_t count = 0, discoveries = 0;
    for (size_t one = 0; one < verdict->count; one++)
        for (size_t other = one + 1; other < verdict->count; other++) {
            verdict->ratios[column][one][other] = ratio_of(verdict, column, one, other);
            pairs[count++] = &verdict->ratios[column][one][other];
        }
    qsort(pairs, count, sizeof(struct verdict_ratio *), compare_chances);
    for (size_t i = 0; i < count; i++)
        if (pairs[i]->chance <= ERROR * (double)(i + 1) / (double)count)
            discoveries = i + 1;
    for (size_t i = 0; i < count; i++) {
        const enum sequential_verdict found =
            pairs[i]->is_known ? sequential_decide(pairs[i]->low, pairs[i]->high, log1p(VERDICT_MARGIN))
                               : SEQUENTIAL_OPEN;
        pairs[i]->decision = i < discoveries || found == SEQUENTIAL_SAME ? found : SEQUENTIAL_OPEN;
        verdict_bind(pairs[i], is_bound);
    }
    for (size_t one = 0; one < verdict->count; one++)
        for (size_t other = one + 1; other < verdict->count; other++)
            verdict->ratios[column][other][one] = turned(&verdict->ratios[column][one][other]);
}

void verdict_bind(struct verdict_ratio *ratio, int is_bound) {
    ratio->is_bound = is_bound;
    if (is_bound && ratio->decision == SEQUENTIAL_SAME)
        ratio->decision = SEQUENTIAL_OPEN;
}

void verdict_make(struct verdict *verdict, const struct verdict_side *sides, size_t count, int is_bound) {
    memset(verdict, 0, sizeof *verdict);
    verdict->sides = sides;
    verdict->count = count;
    for (size_t i = 0; i < count; i++) {
        size_t rounds = 0;
        for (size_t round = 0; round < SEQUENTIAL_MAX; round++)
            rounds += sides[i].values[VERDICT_TIME][round] > 0;
        verdict->rounds = rounds > verdict->rounds ? rounds : verdict->rounds;
    }
    for (int column = 0; column < VERDICT_COLUMNS; column++)
        decide(verdict, (enum verdict_column)column, is_bound && column == VERDICT_TIME);
}

// ---- words ---------------------------------------------------------------------------------------------------------

const char *verdict_number(double value, char out[24]) {
    int decimals = 0;
    for (double unit = 10; value >= 99.95 * unit && !isinf(value); unit *= 10)
        if (value < 999.5 * unit)
            value = round(value / unit) * unit;
    for (double limit = 99.95; decimals < 12 && value > 0 && value < limit; limit /= 10)
        decimals++;
    if (isinf(value))
        snprintf(out, 24, "inf");
    else
        snprintf(out, 24, "%.*f", value > 0 ? decimals : 0, value);
    return out;
}

void verdict_name(const char *label, size_t copy, char *out, size_t out_bytes) {
    if (copy == 0)
        snprintf(out, out_bytes, "%s", label);
    else
        snprintf(out, out_bytes, "%s#%zu", label, copy + 1);
}

// Why two whose times look equal are not called the same.
static const char *apart(int is_bound) {
    return is_bound ? "cannot be told apart (harness-bound)" : "cannot be told apart";
}

static const char *bound(const struct verdict_ratio *ratio) {
    if (!ratio->is_bound)
        return "";
    return ratio->high < 0 ? "at least " : ratio->low > 0 ? "at most " : "";
}

// How many times as fast, with its interval; of a time.
static void print_factor(const char *name, const struct verdict_ratio *ratio, const char *before, const char *other,
                         struct buffer *out) {
    char middle[24], low[24], high[24];
    verdict_number(exp(-ratio->middle), middle);
    verdict_number(exp(-ratio->high), low);
    verdict_number(exp(-ratio->low), high);
    buffer_print(out, "%s%s %s%s times as fast%s%s [%s, %s]", name, before, bound(ratio), middle,
                 other[0] ? " as " : "", other, low, high);
}

static const char *percent(double share, char out[24]) {
    snprintf(out, 24, "%.*f", 100 * share < 9.95, 100 * share);
    return out;
}

// "12 % less memory" or "2.4 times the memory".
static void print_memory(const struct verdict_ratio *ratio, struct buffer *out) {
    char number[24];
    if (ratio->decision == SEQUENTIAL_LESS)
        buffer_print(out, "%s %% less memory", percent(-expm1(ratio->middle), number));
    else if (exp(ratio->middle) >= 2)
        buffer_print(out, "%s times the memory", verdict_number(exp(ratio->middle), number));
    else
        buffer_print(out, "%s %% more memory", percent(expm1(ratio->middle), number));
}

struct ranking {
    const struct verdict *verdict;
    enum verdict_column column;
    size_t order[VERDICT_MOST_SIDES]; // the least first
    size_t leaders;                   // how many of the first cannot be told from the least; they stand in front
};

static const char *name_at(const struct ranking *ranking, size_t place) {
    return ranking->verdict->sides[ranking->order[place]].name;
}

static const struct verdict_ratio *ratio_at(const struct ranking *ranking, size_t place, size_t other) {
    return &ranking->verdict->ratios[ranking->column][ranking->order[place]][ranking->order[other]];
}

// Those from `first` on that cannot be told from it move up behind it. Returns the place behind them.
static size_t gather(struct ranking *ranking, size_t first) {
    size_t end = first + 1;
    for (size_t place = end; place < ranking->verdict->count; place++) {
        if (ratio_at(ranking, first, place)->decision == SEQUENTIAL_LESS)
            continue;
        const size_t kept = ranking->order[place];
        memmove(&ranking->order[end + 1], &ranking->order[end], (place - end) * sizeof ranking->order[0]);
        ranking->order[end++] = kept;
    }
    return end;
}

static struct ranking rank(const struct verdict *verdict, enum verdict_column column) {
    struct ranking ranking = {.verdict = verdict, .column = column};
    for (size_t i = 0; i < verdict->count; i++) {
        size_t place = i;
        for (; place > 0 &&
               verdict->ratios[column][i][0].middle < verdict->ratios[column][ranking.order[place - 1]][0].middle;
             place--)
            ranking.order[place] = ranking.order[place - 1];
        ranking.order[place] = i;
    }
    ranking.leaders = gather(&ranking, 0);
    return ranking;
}

// "a, b and c", in the order of the plan: among equals nobody is first.
static void print_names(const struct ranking *ranking, size_t from, size_t to, struct buffer *out) {
    const size_t count = to - from;
    size_t told = 0;
    for (size_t side = 0; side < ranking->verdict->count; side++)
        for (size_t place = from; place < to; place++)
            if (ranking->order[place] == side) {
                told++;
                buffer_print(out, "%s%s", told == 1 ? "" : told == count ? " and " : ", ", name_at(ranking, place));
            }
}

static int all_the_same(const struct verdict *verdict, enum verdict_column column) {
    for (size_t i = 1; i < verdict->count; i++)
        if (verdict->ratios[column][i][0].decision != SEQUENTIAL_SAME)
            return 0;
    return 1;
}

static int is_known(const struct verdict *verdict, enum verdict_column column) {
    for (size_t one = 0; one < verdict->count; one++)
        for (size_t other = one + 1; other < verdict->count; other++)
            if (verdict->ratios[column][one][other].is_known)
                return 1;
    return 0;
}

// Ahead of each of the others: against the baseline, which says most, or against the next when it is that itself.
static void print_winner(const struct ranking *ranking, struct buffer *out) {
    const struct verdict *verdict = ranking->verdict;
    const size_t winner = ranking->order[0], other = winner == 0 ? ranking->order[1] : 0;
    const struct verdict_ratio *memory = &verdict->ratios[VERDICT_MEMORY][winner][other];
    const int is_one_of_many = verdict->count > 2;
    print_factor(verdict->sides[winner].name, &verdict->ratios[VERDICT_TIME][winner][other],
                 is_one_of_many ? " is the fastest," : " is", verdict->sides[other].name, out);
    if (memory->decision == SEQUENTIAL_LESS || memory->decision == SEQUENTIAL_MORE) {
        buffer_print(out, "%s and needs ", is_one_of_many ? "," : "");
        print_memory(memory, out);
    }
}

// The first of them and others that it cannot be told from, but not all.
static void print_leaders(const struct ranking *ranking, struct buffer *out) {
    const struct verdict *verdict = ranking->verdict;
    const struct verdict_ratio *ratio = &verdict->ratios[VERDICT_TIME][ranking->order[0]][0];
    print_names(ranking, 0, ranking->leaders, out);
    buffer_print(out, " are the fastest and %s", apart(ratio->is_bound));
    if (ratio->decision == SEQUENTIAL_LESS) {
        buffer_print(out, ", ");
        print_factor(name_at(ranking, 0), ratio, "", verdict->sides[0].name, out);
    }
}

static void print_no_leader(const struct ranking *ranking, struct buffer *out) {
    const struct verdict *verdict = ranking->verdict;
    if (all_the_same(verdict, ranking->column)) {
        buffer_print(out, "no difference you could notice%s (all within %g %%)",
                     ranking->column == VERDICT_TIME ? " in time" : "", 100 * VERDICT_MARGIN);
        return;
    }
    print_names(ranking, 0, verdict->count, out);
    buffer_print(out, " %s", apart(verdict->ratios[ranking->column][1][0].is_bound));
    if (verdict->count == 2 && ranking->column == VERDICT_TIME) {
        buffer_print(out, ": ");
        print_factor(verdict->sides[1].name, &verdict->ratios[VERDICT_TIME][1][0], "", "", out);
    }
}

// "; hz5 needs the least memory, 18 % [15, 22] less than system", of one that was not told about yet.
static void print_least_memory(const struct verdict *verdict, size_t told, struct buffer *out) {
    const struct ranking ranking = rank(verdict, VERDICT_MEMORY);
    const size_t least = ranking.order[0];
    const struct verdict_ratio *ratio = &verdict->ratios[VERDICT_MEMORY][least][0];
    char middle[24], low[24], high[24];
    if (ranking.leaders != 1 || least == told || (told != SIZE_MAX && verdict->count == 2))
        return;
    buffer_print(out, "; %s needs the least memory", verdict->sides[least].name);
    if (ratio->decision == SEQUENTIAL_LESS)
        buffer_print(out, ", %s %% [%s, %s] less than %s", percent(-expm1(ratio->middle), middle),
                     percent(-expm1(ratio->high), low), percent(-expm1(ratio->low), high), verdict->sides[0].name);
}

// Which of those behind the leaders cannot be told from each other: in groups, from the fastest on.
static void print_others(struct ranking *ranking, struct buffer *out) {
    int groups = 0;
    for (size_t place = ranking->leaders, end; place < ranking->verdict->count; place = end) {
        end = gather(ranking, place);
        if (end - place < 2)
            continue;
        buffer_print(out, groups == 0 ? "; " : ", nor can ");
        print_names(ranking, place, end, out);
        if (groups++ == 0)
            buffer_print(out, " %s", apart(ratio_at(ranking, place, end - 1)->is_bound));
    }
}

static void print_too_few(const struct verdict *verdict, struct buffer *out) {
    const double pairs = (double)(verdict->count * (verdict->count - 1)) / 2;
    buffer_print(out, "%zu round%s nothing about %zu allocators - take more, such as --runs=%d.", verdict->rounds,
                 verdict->rounds == 1 ? " decides" : "s decide", verdict->count,
                 (int)ceil(log2(2 * pairs / ERROR)) + 2);
}

void verdict_sentence(const struct verdict *verdict, struct buffer *out) {
    if (verdict->count < 2)
        return;
    if (!is_known(verdict, VERDICT_TIME)) {
        print_too_few(verdict, out);
        return;
    }
    struct ranking ranking = rank(verdict, VERDICT_TIME);
    const int is_winner = ranking.leaders == 1;
    if (is_winner)
        print_winner(&ranking, out);
    else if (ranking.leaders < verdict->count)
        print_leaders(&ranking, out);
    else
        print_no_leader(&ranking, out);
    print_least_memory(verdict, is_winner ? ranking.order[0] : SIZE_MAX, out);
    print_others(&ranking, out);
    buffer_put(out, '.');
}

void verdict_column_sentence(const struct verdict *verdict, enum verdict_column column, struct buffer *out) {
    if (verdict->count < 2)
        return;
    if (!is_known(verdict, column)) {
        print_too_few(verdict, out);
        return;
    }
    struct ranking ranking = rank(verdict, column);
    const struct verdict_ratio *ratio = &verdict->ratios[column][ranking.order[0]][0];
    char middle[24], low[24], high[24];
    if (ranking.leaders == verdict->count) {
        print_no_leader(&ranking, out);
    } else if (ranking.leaders > 1) {
        print_names(&ranking, 0, ranking.leaders, out);
        buffer_print(out, " cannot be told apart; more than the least of them: ");
        print_names(&ranking, ranking.leaders, verdict->count, out);
    } else if (ranking.order[0] == 0) {
        buffer_print(out, "%s needs the least, less than each of the others", verdict->sides[0].name);
    } else {
        buffer_print(out, "%s needs the least, %s %% [%s, %s] less than %s", name_at(&ranking, 0),
                     percent(-expm1(ratio->middle), middle), percent(-expm1(ratio->high), low),
                     percent(-expm1(ratio->low), high), verdict->sides[0].name);
    }
    buffer_put(out, '.');
}

void verdict_pair(const char *name, const char *other, const struct verdict_ratio *ratio, double margin,
                  struct buffer *out) {
    char share[24];
    if (ratio->decision == SEQUENTIAL_LESS || ratio->decision == SEQUENTIAL_MORE) {
        print_factor(name, ratio, " is", other, out);
        return;
    }
    buffer_print(out, "%s and %s ", name, other);
    if (ratio->is_bound)
        buffer_print(out, "%s", apart(1));
    else if (ratio->decision == SEQUENTIAL_SAME)
        buffer_print(out, "are the same within %s %%", percent(margin, share));
    else
        buffer_print(out, "are undecided");
    if (ratio->is_known) {
        buffer_print(out, ": ");
        print_factor(name, ratio, "", "", out);
    }
}
