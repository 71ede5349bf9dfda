// SPDX-License-Identifier: Apache-2.0
// The judge by search: random sequences of calls with one bug each, every one in a child of its own, and what the
// allocator makes of it, counted by kind of bug. In the spirit of HeapHopper and ArcHeap, for any library that the
// loader opens. Layer: test.
//   attack --alloc=ITEM [--steps=100k] [--seed=N] [--bugs=LIST] [--length=N] [--csv=FILE]
//          [--allow=BUGS] [--refuse=BUGS] [--ignore=PRIMITIVES] [--expect=PRIMITIVES] [--hash=HEX]
//   attack --alloc=ITEM --replay=SEED:N | --input=FILE | --input=DIRECTORY
// Exits with 4 when a bug of a kind that --allow does not name became a primitive that --ignore does not name, a crash
// or a hang, when one that --refuse names was not refused in its step, when a correct program was disturbed, and when
// what --expect names was not found.
#include "attack.h"

#include "../../allocators/loader/loader.h"
#include "../../runner/text/quantity.h"
#include "../support/library.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#define GUARD_BYTES ((size_t)1 << 20) // around what is the program's own, more than any overflow reaches
#define CHILD_CPU_US 100000           // and 200 us a step: twenty times what a sequence takes
#define CHILD_SECONDS 30              // for deadlocks; a loaded machine must not reach it
#define INPUT_BYTES 65536
#define ALL_BUGS ((1u << ATTACK_BUG_COUNT) - 1)

enum outcome {
    OUTCOME_UNNOTICED, // nothing happened that the program could see
    OUTCOME_AT_ONCE,   // the allocator ended the program, or said or counted the bug, in the step of the bug
    OUTCOME_LATE,      // the same in a later step
    OUTCOME_TRAPPED,   // the bug's own write met inaccessible memory
    OUTCOME_CRASHED,   // the allocator crashed
    OUTCOME_HUNG,      // or did not come back within its time
    OUTCOME_REACHED,   // the bug's own write changed another live block, and nothing stopped it
    OUTCOME_PRIMITIVE,
    OUTCOME_COUNT
};
static const char *const outcome_names[] = {"unnoticed", "at-once", "late",    "trapped",
                                            "crashed",   "hung",    "reached", "primitive"};

struct tally {
    uint64_t sequences, steps;
    uint64_t outcomes[OUTCOME_COUNT];
    uint64_t primitives[ATTACK_PRIMITIVE_COUNT];
    uint64_t first_sequence, first_steps; // of a primitive; 0: none. Steps of all sequences with this bug up to it.
    uint64_t worst_sequence;              // + 1: the last one that was not as --allow and --refuse demand
};

static struct {
    const char *alloc, *csv, *input, *replay, *hash;
    uint64_t steps, seed, length;
    uint32_t bugs, allow, refuse, expect, ignore;
} options = {.steps = 100000, .seed = 1, .length = 128, .bugs = ALL_BUGS, .allow = 1u << ATTACK_BUG_STALE_FREE};

static struct tally tallies[ATTACK_BUG_COUNT];
static struct attack_report *report;
static int said; // memory that takes what the child prints on standard error

static void usage(const char *what, const char *value) {
    fprintf(stderr,
            "attack: %s '%s' - attack --alloc=ITEM [--steps=100k] [--seed=N] [--bugs=LIST] [--length=128] [--csv=FILE] "
            "[--allow=LIST] [--refuse=LIST] [--ignore=PRIMITIVES] [--expect=PRIMITIVES] [--hash=HEX] | --replay=SEED:N "
            "| --input=PATH\n",
            what, value);
    exit(2);
}

static uint32_t read_names(const char *text, const char *const *names, size_t count) {
    char copy[256];
    uint32_t bits = 0;
    snprintf(copy, sizeof copy, "%s", text);
    char *rest = copy;
    for (char *item = quantity_next_item(&rest); item != NULL; item = quantity_next_item(&rest)) {
        const int number = quantity_name(item, names, count);
        if (number < 0)
            usage("no such kind", item);
        bits |= 1u << number;
    }
    return bits;
}

static void read_options(int argc, char **argv) {
    enum { TEXT, COUNT, BUGS, PRIMITIVES };
    static const struct {
        const char *name;
        int is;
        void *to;
    } known[] = {{"alloc", TEXT, &options.alloc},        {"csv", TEXT, &options.csv},
                 {"hash", TEXT, &options.hash},          {"replay", TEXT, &options.replay},
                 {"input", TEXT, &options.input},        {"steps", COUNT, &options.steps},
                 {"seed", COUNT, &options.seed},         {"length", COUNT, &options.length},
                 {"bugs", BUGS, &options.bugs},          {"allow", BUGS, &options.allow},
                 {"refuse", BUGS, &options.refuse},      {"expect", PRIMITIVES, &options.expect},
                 {"ignore", PRIMITIVES, &options.ignore}};
    enum { KNOWN = sizeof known / sizeof *known };
    struct option names[KNOWN + 1] = {0};
    for (int i = 0; i < KNOWN; i++)
        names[i] = (struct option){known[i].name, required_argument, NULL, i};
    for (int i = getopt_long(argc, argv, "", names, NULL); i != -1; i = getopt_long(argc, argv, "", names, NULL)) {
        if (i < 0 || i >= KNOWN)
            usage("cannot understand", argv[optind - 1]);
        if (known[i].is == TEXT)
            *(const char **)known[i].to = optarg;
        else if (known[i].is == BUGS)
            *(uint32_t *)known[i].to = read_names(optarg, attack_bug_names, ATTACK_BUG_COUNT);
        else if (known[i].is == PRIMITIVES)
            *(uint32_t *)known[i].to = read_names(optarg, attack_primitive_names, ATTACK_PRIMITIVE_COUNT);
        else if (!quantity_count(optarg, known[i].to))
            usage("not a number that fits", optarg);
    }
    if (options.length < 8 || options.length > 1000000)
        usage("not from 8 to 1000000", "--length");
    if (optind < argc || options.alloc == NULL)
        usage(optind < argc ? "not an option" : "an allocator is missing", optind < argc ? argv[optind] : "--alloc");
}

// The same addresses in each run, where the system permits it: then a primitive comes again when its sequence does.
static void begin_again_without_chance(char **argv) {
    const int now = personality(0xffffffff);
    if (now == -1 || (now & ADDR_NO_RANDOMIZE) != 0 || personality((unsigned long)now | ADDR_NO_RANDOMIZE) == -1)
        return;
    setenv(ALLOCATOR_TUNABLES_ENV, ALLOCATOR_TUNABLES, 1);
    execv("/proc/self/exe", argv);
}

static void fail(const char *what) {
    fprintf(stderr, "attack: %s: %s\n", what, strerror(errno));
    exit(70);
}

// Writable memory between inaccessible pages.
static void *apart(size_t bytes, int flags) {
    unsigned char *all =
        mmap(NULL, bytes + 2 * GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        fail("no memory");
    void *at = mmap(all + GUARD_BYTES, bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | flags, -1, 0);
    if (at == MAP_FAILED)
        fail("no memory");
    return at;
}

// Runs the sequence in a child and returns how that ended.
static int in_child(struct attack_sequence *sequence) {
    memset((void *)report, 0, sizeof *report);
    if (ftruncate(said, 0) != 0 || lseek(said, 0, SEEK_SET) != 0)
        fail("cannot empty what was said");
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == -1)
        fail("cannot fork");
    if (pid == 0) {
        const uint64_t cpu_us = CHILD_CPU_US + 200 * sequence->most;
        const struct itimerval cpu = {.it_value = {(time_t)(cpu_us / 1000000), (suseconds_t)(cpu_us % 1000000)}};
        setitimer(ITIMER_PROF, &cpu, NULL);
        alarm(CHILD_SECONDS);
        dup2(said, STDERR_FILENO);
        attack_execute(sequence);
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) != pid)
        if (errno != EINTR)
            fail("lost a child");
    return status;
}

static enum outcome when(void) {
    return report->step == report->bug_step ? OUTCOME_AT_ONCE : OUTCOME_LATE;
}

static enum outcome judge(int status) {
    struct stat text;
    if (report->primitive != ATTACK_PRIMITIVE_NONE)
        return OUTCOME_PRIMITIVE;
    if (WIFEXITED(status) && report->is_ended) {
        if (report->is_refused || (fstat(said, &text) == 0 && text.st_size != 0))
            return OUTCOME_AT_ONCE;
        return report->reached != 0 ? OUTCOME_REACHED : OUTCOME_UNNOTICED;
    }
    if (WIFEXITED(status))
        return when(); // the library's exit
    switch (WTERMSIG(status)) {
    case SIGABRT:
    case SIGTRAP:
    case SIGILL:
        return when();
    case SIGSEGV:
    case SIGBUS:
        if (report->phase == ATTACK_PHASE_BUG)
            return OUTCOME_TRAPPED;
        if (report->phase != ATTACK_PHASE_ADMIT && report->phase != ATTACK_PHASE_LIVE)
            return OUTCOME_CRASHED;
        report->primitive = report->phase == ATTACK_PHASE_ADMIT ? ATTACK_PRIMITIVE_OUTSIDE : ATTACK_PRIMITIVE_GONE;
        return OUTCOME_PRIMITIVE;
    case SIGPROF:
    case SIGALRM:
        return OUTCOME_HUNG;
    default:
        return OUTCOME_CRASHED;
    }
}

// Whether the outcome breaks what the options demand of this allocator.
static int is_against_demands(enum attack_bug bug, enum outcome outcome) {
    if (bug == ATTACK_BUG_NONE)
        return outcome != OUTCOME_UNNOTICED;
    if ((options.allow >> bug & 1) != 0)
        return 0;
    if ((options.refuse >> bug & 1) != 0)
        return outcome != OUTCOME_AT_ONCE;
    if (outcome == OUTCOME_PRIMITIVE)
        return (options.ignore >> report->primitive & 1) == 0;
    return outcome == OUTCOME_CRASHED || outcome == OUTCOME_HUNG;
}

static enum outcome count(uint64_t number, int status) {
    const enum attack_bug bug = (enum attack_bug)report->bug;
    const enum outcome outcome = judge(status);
    struct tally *tally = &tallies[bug];
    tally->sequences++;
    tally->steps += report->step;
    tally->outcomes[outcome]++;
    if (outcome == OUTCOME_PRIMITIVE) {
        tally->primitives[report->primitive]++;
        if (tally->first_steps == 0) {
            tally->first_sequence = number;
            tally->first_steps = tally->steps;
        }
    }
    if (is_against_demands(bug, outcome))
        tally->worst_sequence = number + 1;
    return outcome;
}

static void set_seed(struct attack_sequence *sequence, uint64_t seed, uint64_t number) {
    uint64_t random = seed;
    const uint64_t base = test_random(&random);
    sequence->source = (struct attack_source){.random = base ^ number * UINT64_C(0xd1342543de82ef95)};
}

// One sequence with all its steps.
static enum outcome show(struct attack_sequence *sequence) {
    char text[512] = "";
    sequence->is_told = 1;
    const int status = in_child(sequence);
    const enum outcome outcome = count(0, status);
    const ssize_t bytes = pread(said, text, sizeof text - 1, 0);
    printf("%s%s%s%s, bug %s, step %u, events %016" PRIx64 "\n", bytes > 0 ? text : "", outcome_names[outcome],
           report->primitive != 0 ? " " : "", report->primitive != 0 ? attack_primitive_names[report->primitive] : "",
           attack_bug_names[report->bug], report->step, report->hash);
    return outcome;
}

static int show_number(struct attack_sequence *sequence) {
    char *end;
    const uint64_t seed = strtoull(options.replay, &end, 10);
    if (*end != ':')
        usage("not SEED:N", options.replay);
    set_seed(sequence, seed, strtoull(end + 1, &end, 10));
    if (*end != '\0')
        usage("not SEED:N", options.replay);
    show(sequence);
    return 0;
}

static void print_table(void) {
    printf("%-17s %9s %9s %9s %9s %9s %9s %9s %9s %9s  %s\n", "bug", "sequences", "at-once", "late", "trapped",
           "crashed", "hung", "reached", "unnoticed", "primitive", "first after steps: kinds");
    for (int bug = 0; bug < ATTACK_BUG_COUNT; bug++) {
        const struct tally *tally = &tallies[bug];
        if (tally->sequences == 0)
            continue;
        printf("%-17s %9" PRIu64, attack_bug_names[bug], tally->sequences);
        static const enum outcome order[] = {OUTCOME_AT_ONCE, OUTCOME_LATE,    OUTCOME_TRAPPED,   OUTCOME_CRASHED,
                                             OUTCOME_HUNG,    OUTCOME_REACHED, OUTCOME_UNNOTICED, OUTCOME_PRIMITIVE};
        for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
            printf(" %9" PRIu64, tally->outcomes[order[i]]);
        const char *separator = "  ";
        if (tally->first_steps != 0)
            printf("  %" PRIu64 " (sequence %" PRIu64 "):", tally->first_steps, tally->first_sequence);
        for (int primitive = 1; primitive < ATTACK_PRIMITIVE_COUNT; primitive++)
            if (tally->primitives[primitive] != 0) {
                printf("%s%s %" PRIu64, separator, attack_primitive_names[primitive], tally->primitives[primitive]);
                separator = ", ";
            }
        printf("\n");
    }
}

static int read_input(struct attack_sequence *sequence, const char *path) {
    static unsigned char bytes[INPUT_BYTES];
    FILE *file = fopen(path, "rb");
    const size_t count_bytes = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
    const int is_read = file != NULL && ferror(file) == 0;
    if (file != NULL)
        fclose(file);
    sequence->source = (struct attack_source){.at = bytes, .end = bytes + count_bytes};
    return is_read;
}

// The files of a directory, such as a fuzzer's corpus.
static int search_inputs(struct attack_sequence *sequence, DIR *directory) {
    uint64_t number = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", options.input, entry->d_name);
        if (entry->d_name[0] == '.' || !read_input(sequence, path))
            continue;
        const enum outcome outcome = count(number++, in_child(sequence));
        if (is_against_demands((enum attack_bug)report->bug, outcome))
            printf("not as demanded: --input=%s\n", path);
    }
    closedir(directory);
    printf("%s: %" PRIu64 " inputs\n", options.alloc, number);
    print_table();
    int result = number != 0 ? 0 : 2;
    for (int bug = 0; bug < ATTACK_BUG_COUNT; bug++)
        result = tallies[bug].worst_sequence != 0 ? 4 : result;
    return result;
}

// For afl-fuzz: what the options do not allow ends the program by SIGABRT, everything else is no crash.
static int search_input(struct attack_sequence *sequence) {
    DIR *directory = opendir(options.input);
    if (directory != NULL)
        return search_inputs(sequence, directory);
    if (!read_input(sequence, options.input))
        usage(strerror(errno), options.input);
    const enum outcome outcome = show(sequence);
    if (is_against_demands((enum attack_bug)report->bug, outcome))
        abort();
    return 0;
}

static void write_csv(const struct loaded_allocator *allocator) {
    FILE *file = fopen(options.csv, "a");
    if (file == NULL)
        fail(options.csv);
    if (ftell(file) == 0) {
        fprintf(file, "allocator,version,seed,length,bug,sequences,steps");
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
            fprintf(file, ",%s", outcome_names[outcome]);
        for (int primitive = 1; primitive < ATTACK_PRIMITIVE_COUNT; primitive++)
            fprintf(file, ",%s", attack_primitive_names[primitive]);
        fprintf(file, ",first_sequence,first_steps\n");
    }
    for (int bug = 0; bug < ATTACK_BUG_COUNT; bug++) {
        const struct tally *tally = &tallies[bug];
        if (tally->sequences == 0)
            continue;
        fprintf(file, "\"%s\",%s,%" PRIu64 ",%" PRIu64 ",%s,%" PRIu64 ",%" PRIu64, options.alloc,
                allocator->provenance.version, options.seed, options.length, attack_bug_names[bug], tally->sequences,
                tally->steps);
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
            fprintf(file, ",%" PRIu64, tally->outcomes[outcome]);
        for (int primitive = 1; primitive < ATTACK_PRIMITIVE_COUNT; primitive++)
            fprintf(file, ",%" PRIu64, tally->primitives[primitive]);
        if (tally->first_steps != 0)
            fprintf(file, ",%" PRIu64 ",%" PRIu64 "\n", tally->first_sequence, tally->first_steps);
        else
            fprintf(file, ",,\n");
    }
    if (fclose(file) != 0)
        fail(options.csv);
}

static int demands(uint64_t hash) {
    int result = 0;
    uint64_t found[ATTACK_PRIMITIVE_COUNT] = {0};
    for (int bug = 0; bug < ATTACK_BUG_COUNT; bug++) {
        for (int primitive = 0; primitive < ATTACK_PRIMITIVE_COUNT; primitive++)
            found[primitive] += tallies[bug].primitives[primitive];
        if (tallies[bug].worst_sequence != 0 && options.expect == 0) {
            printf("not as demanded: bug %s, for example --replay=%" PRIu64 ":%" PRIu64
                   " --bugs and --length as here\n",
                   attack_bug_names[bug], options.seed, tallies[bug].worst_sequence - 1);
            result = 4;
        }
    }
    for (int primitive = 1; primitive < ATTACK_PRIMITIVE_COUNT; primitive++)
        if ((options.expect >> primitive & 1) != 0 && found[primitive] == 0) {
            printf("not found: %s\n", attack_primitive_names[primitive]);
            result = 4;
        }
    if (options.hash != NULL && strtoull(options.hash, NULL, 16) != hash) {
        printf("other events than %s\n", options.hash);
        result = 4;
    }
    return result;
}

static int search(struct attack_sequence *sequence, const struct loaded_allocator *allocator) {
    uint64_t steps = 0, hash = 0, number = 0;
    for (; steps < options.steps; number++) {
        set_seed(sequence, options.seed, number);
        count(number, in_child(sequence));
        steps += report->step != 0 ? report->step : 1; // not even a first step: it goes on to the end for all that
        hash = (hash ^ report->hash) * UINT64_C(0x100000001b3);
    }
    printf("%s %s: seed %" PRIu64 ", %" PRIu64 " sequences, %" PRIu64 " steps, events %016" PRIx64 "\n", options.alloc,
           allocator->provenance.version, options.seed, number, steps, hash);
    print_table();
    if (options.csv != NULL)
        write_csv(allocator);
    return demands(hash);
}

int main(int argc, char **argv) {
    char why[256];
    struct allocator_spec spec;
    static struct loaded_allocator allocator;
    read_options(argc, argv);
    begin_again_without_chance(argv);
    test_library_environment(argv);
    if (allocator_spec_parse(options.alloc, &spec, why, sizeof why) == ALLOCATOR_UNKNOWN) {
        fprintf(stderr, "attack: %s\n", why);
        return 2;
    }
    if (allocator_load(&spec, ALLOCATOR_LOAD_DLOPEN, &allocator, why, sizeof why) != ALLOCATOR_LOADED) {
        fprintf(stderr, "attack: %s\n", why);
        return 3;
    }
    if ((allocator.table.capabilities & ALLOCATOR_STORES) == 0)
        usage("its blocks are no memory, so there is nothing to find: not to be attacked", options.alloc);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    said = memfd_create("said", MFD_CLOEXEC);
    if (said == -1)
        fail("memfd_create");
    report = apart(4096, MAP_SHARED);
    struct attack_sequence sequence = {.heap = &allocator.table,
                                       .bugs = options.bugs,
                                       .most = (uint32_t)options.length,
                                       .own = apart(ATTACK_OWN_BYTES, MAP_PRIVATE),
                                       .report = report};
    attack_note_images();
    if (options.replay != NULL)
        return show_number(&sequence);
    if (options.input != NULL)
        return search_input(&sequence);
    return search(&sequence, &allocator);
}
