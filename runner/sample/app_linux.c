// SPDX-License-Identifier: Apache-2.0
// hzbench-app: the child process of one sample of `app:NAME` or `program`. In the worker's place it runs a program
// under the allocator, by the functions of workloads/apps/NAME.app or by the user's command, watches the memory of all
// its processes, and writes into the runner's memory what it saw. The program's own report (libhzrun.so) proves that
// malloc was the allocator's. Layer: runner.
//
// Two processes: the runner's child only waits; the keeper, outside of its group, does the work. When the runner kills
// the one for a timeout or an interrupt, the other is told by the kernel and leaves nothing behind.
#include "../system/os.h"
#include "../text/words.h"
#include "../tools/hzrun_report.h"
#include "app_tree.h"
#include "rss.h"
#include "shared.h"

#include "../../allocators/loader/loader.h"
#include "../../allocators/loader/os_library.h"
#include "../../workloads/app_table.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_MISSING 69 // of workloads/apps/step
#define READY_TRIES_NS UINT64_C(20000000000)
#define READY_PAUSE_NS UINT64_C(20000000)
#define STOP_NS UINT64_C(10000000000)
#define WATCH_MOST 50 // watching may cost one part in so many of a CPU
#define TEXT_BYTES 4096

struct step { // one function of the app, running or ended
    pid_t pid;
    int is_running;
    int status; // of waitpid
    struct rusage usage;
    char log[TEXT_BYTES + 32];
    const char *name;
};

static struct sample_shared *shared;
static const struct app *app;
static struct allocator_spec spec;
static char library[TEXT_BYTES], companion[TEXT_BYTES], scripts[TEXT_BYTES], directory[TEXT_BYTES];
static char preloaded[TEXT_BYTES];                    // the library or its copy
static char *command[WORKLOAD_COMMAND_BYTES / 2 + 1]; // of the workload `program`; empty: an app
static char label[64];                                // what messages call the program
static pid_t work_pid;                                // of the command
static char report[TEXT_BYTES + 16], copies[TEXT_BYTES + 16];
static uint64_t started_ns, next_watch_ns, watch_interval_ns, peak_bytes;
static int is_hidden; // one of the looks did not see all processes
static volatile sig_atomic_t is_told_to_end;

static void on_end(int number) {
    (void)number;
    is_told_to_end = 1;
}

// ---- watching ------------------------------------------------------------------------------------------------------

// Of this process: on a busy machine a look takes long and costs no more.
static uint64_t cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static uint64_t watch(pid_t except) {
    const uint64_t before_ns = os_now_ns(), used_ns = cpu_ns();
    const uint64_t bytes = app_tree_pss((int)except);
    const struct rss_point point = {.t_ns = before_ns - started_ns,
                                    .rss_bytes = bytes,
                                    .live_bytes = SHARED_LIVE_UNKNOWN,
                                    .phase = atomic_load_explicit(&shared->phase, memory_order_relaxed)};
    if (bytes == NOT_MEASURED) {
        is_hidden = 1;
    } else {
        if (watch_interval_ns != 0 && rss_append(shared, &point))
            watch_interval_ns *= 2;
        peak_bytes = bytes > peak_bytes ? bytes : peak_bytes;
    }
    const uint64_t least_ns = (cpu_ns() - used_ns) * WATCH_MOST;
    next_watch_ns = os_now_ns() + (watch_interval_ns > least_ns ? watch_interval_ns : least_ns);
    return bytes;
}

static int has_ended(struct step *step) {
    if (step->is_running && wait4(step->pid, &step->status, WNOHANG, &step->usage) == step->pid)
        step->is_running = 0;
    return !step->is_running;
}

// Until the step has ended or the time has come; `except` is the step outside of the program, if one runs.
static void watch_until(struct step *step, uint64_t until_ns, pid_t except) {
    const int fd = pidfd_open(step->pid, 0);
    while (!has_ended(step) && !is_told_to_end) {
        uint64_t now_ns = os_now_ns();
        if (now_ns >= until_ns)
            break;
        if (watch_interval_ns != 0 && now_ns >= next_watch_ns) {
            watch(except);
            continue;
        }
        uint64_t wake_ns = watch_interval_ns != 0 && next_watch_ns < until_ns ? next_watch_ns : until_ns;
        struct timespec left = {.tv_sec = (time_t)((wake_ns - now_ns) / 1000000000u),
                                .tv_nsec = (long)((wake_ns - now_ns) % 1000000000u)};
        struct pollfd ended = {.fd = fd, .events = POLLIN};
        ppoll(&ended, 1, &left, NULL);
    }
    if (fd >= 0)
        close(fd);
}

// ---- steps ---------------------------------------------------------------------------------------------------------

static void set_number(const char *name, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    setenv(name, text, 1);
}

static int is_command(void) {
    return command[0] != NULL;
}

static void set_app_variables(void) {
    const struct workload_params *params = &shared->request.params;
    setenv("DIR", directory, 1);
    setenv("TMPDIR", directory, 1);
    setenv("HOME", directory, 1);
    setenv("LC_ALL", "C", 1);
    setenv("APPS", scripts, 1);
    set_number("OPS", params->ops * params->threads);
    set_number("THREADS", params->threads);
    set_number("SEED", params->seed);
}

// What the runner has added for libraries that are opened; a preloaded one needs none, and the user's own stay.
static void restore_tunables(void) {
    char own[TEXT_BYTES];
    snprintf(own, sizeof own, "%s", getenv(ALLOCATOR_TUNABLES_ENV) != NULL ? getenv(ALLOCATOR_TUNABLES_ENV) : "");
    char *added = strstr(own, ":" ALLOCATOR_TUNABLES);
    if (added != NULL) {
        *added = '\0';
        setenv(ALLOCATOR_TUNABLES_ENV, own, 1);
    } else {
        unsetenv(ALLOCATOR_TUNABLES_ENV);
    }
}

static void set_environment(int under_test) {
    char preload[2 * TEXT_BYTES + 2];
    if (!is_command())
        set_app_variables();
    unsetenv("LD_PRELOAD");
    restore_tunables();
    if (!under_test)
        return;
    snprintf(preload, sizeof preload, "%s:%s", preloaded, companion);
    setenv("LD_PRELOAD", preload, 1);
    setenv(HZRUN_LIBRARY_ENV, preloaded, 1);
    setenv(HZRUN_REPORT_ENV, report, 1);
    setenv(HZRUN_STATS_ENV, "1", 1);
    if (is_command())
        set_number(HZRUN_PID_ENV, (uint64_t)getpid()); // this process does not start on another heap
}

// The user that the program runs as, NULL when it is ours.
static const struct passwd *other_user(void) {
    return app->user[0] && geteuid() == 0 ? getpwnam(app->user) : NULL;
}

static int become_user(void) {
    const struct passwd *user = other_user();
    return user == NULL || (setgroups(0, NULL) == 0 && setgid(user->pw_gid) == 0 && setuid(user->pw_uid) == 0);
}

// The user's command with the user's directory and environment; `prepare` in a shell.
_Noreturn static void become_command(int under_test) {
    if (!under_test) {
        execl("/bin/sh", "sh", "-c", shared->request.prepare, (char *)NULL);
        _exit(127);
    }
    execvp(command[0], command);
    fprintf(stderr, "%s: cannot be started: %s\n", command[0], strerror(errno));
    _exit(127);
}

_Noreturn static void become_step(const struct step *step, int under_test, pid_t keeper) {
    char path[TEXT_BYTES + 8];
    const int null = open("/dev/null", O_RDWR);
    const int log = open(step->log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(null, 0);
    dup2(is_command() && under_test ? null : log, 1); // nobody knows how much a command prints
    dup2(log, 2);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    signal(SIGTERM, SIG_DFL);
    setpgid(0, 0);
    if (under_test &&
        (budget_enter(&shared->request.budget, 1) != 0 || huge_pages_ask(shared->request.huge_pages) != 0))
        _exit(126);
    set_environment(under_test);
    if (!become_user() || (!is_command() && chdir(directory) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL); // after the change of user, which would clear it
    if (getppid() != keeper)
        _exit(126);
    if (is_command())
        become_command(under_test);
    snprintf(path, sizeof path, "%s/step", scripts);
    execl("/bin/sh", "sh", path, app->name, step->name, (char *)NULL);
    _exit(127);
}

static int start(struct step *step, const char *name, int under_test) {
    const pid_t keeper = getpid();
    *step = (struct step){.name = name};
    snprintf(step->log, sizeof step->log, "%s.%s.log", directory, name); // beside it: the user may not write here
    step->pid = fork();
    if (step->pid == 0)
        become_step(step, under_test, keeper);
    step->is_running = step->pid > 0;
    return step->is_running || shared_conclude(shared, STATUS_ERROR, "cannot start a process: %s", strerror(errno));
}

// The last line that says something of what the step has printed.
static const char *last_line(const struct step *step) {
    static char text[TEXT_BYTES];
    FILE *file = fopen(step->log, "r");
    char line[TEXT_BYTES];
    text[0] = '\0';
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (line[strspn(line, " \t\r\n")] != '\0')
            memcpy(text, line, sizeof text);
    if (file != NULL)
        fclose(file);
    text[strcspn(text, "\r\n")] = '\0';
    if (strlen(text) > 200)
        text[200] = '\0';
    return text;
}

static int succeeded(const struct step *step) {
    return !step->is_running && WIFEXITED(step->status) && WEXITSTATUS(step->status) == 0;
}

static int tell_failure(const struct step *step, enum sample_status status) {
    const char *line = last_line(step);
    char what[128];
    if (is_command())
        snprintf(what, sizeof what, "%s", step->pid == work_pid ? label : "--prepare");
    else
        snprintf(what, sizeof what, "%s: `%s`", label, step->name);
    const char *colon = line[0] ? ": " : "";
    if (step->is_running)
        return shared_conclude(shared, STATUS_ERROR, "%s did not end in time%s%s", what, colon, line);
    if (WIFSIGNALED(step->status))
        return shared_conclude(shared, status, "%s ended by SIG%s%s%s", what, sigabbrev_np(WTERMSIG(step->status)),
                               colon, line);
    return shared_conclude(shared, status, "%s ended with code %d%s%s", what, WEXITSTATUS(step->status), colon, line);
}

// A step outside of the allocator, from start to end.
static int run_outside(const char *name) {
    struct step step;
    if (!start(&step, name, 0))
        return 0;
    watch_until(&step, UINT64_MAX, step.pid);
    if (is_told_to_end)
        return 0;
    if (!step.is_running && WIFEXITED(step.status) && WEXITSTATUS(step.status) == EXIT_MISSING)
        return shared_conclude(shared, STATUS_UNAVAILABLE,
                               "%s needs %s, which is not installed. Debian: apt-get install %s", label,
                               last_line(&step), app->packages);
    return succeeded(&step) || tell_failure(&step, STATUS_ERROR);
}

// ---- proof ---------------------------------------------------------------------------------------------------------

struct proof {
    unsigned took, others;
    char other[sizeof((struct hzrun_report *)0)->other]; // where the program itself took malloc from instead
    char last_other[sizeof((struct hzrun_report *)0)->program];
    uint64_t rejects[ALLOCATOR_REJECT_COUNT];
    uint64_t largest_peak; // of one process, as the kernel knows it
};

static int is_program(const struct hzrun_report *record) {
    return is_command() ? record->pid == work_pid : strncmp(record->program, app->proof, strlen(app->proof)) == 0;
}

static void take_record(struct proof *proof, const struct hzrun_report *record) {
    if (record->event == HZRUN_TOOK && is_program(record))
        proof->took++;
    if (record->event == HZRUN_OTHER && is_program(record))
        memcpy(proof->other, record->other, sizeof proof->other);
    if (record->event == HZRUN_OTHER && !is_program(record)) {
        proof->others++;
        memcpy(proof->last_other, record->program, sizeof proof->last_other);
    }
    if (record->event != HZRUN_ENDED)
        return;
    proof->largest_peak = record->peak_bytes > proof->largest_peak ? record->peak_bytes : proof->largest_peak;
    for (int i = 0; i < ALLOCATOR_REJECT_COUNT; i++)
        proof->rejects[i] += record->stats.rejects[i] != ALLOCATOR_NOT_TOLD ? record->stats.rejects[i] : 0;
}

static struct proof read_proof(void) {
    struct proof proof = {0};
    struct hzrun_report record;
    FILE *file = fopen(report, "rb");
    while (file != NULL && fread(&record, sizeof record, 1, file) == 1) {
        record.program[sizeof record.program - 1] = record.other[sizeof record.other - 1] = '\0';
        take_record(&proof, &record);
    }
    if (file != NULL)
        fclose(file);
    return proof;
}

static void tell_other_heap(const struct proof *proof) {
    const char *name = strrchr(proof->other, '/') != NULL ? strrchr(proof->other, '/') + 1 : proof->other;
    if (is_command() && strncmp(name, "libc.so", strlen("libc.so")) != 0)
        shared_conclude(shared, STATUS_UNAVAILABLE,
                        "%s brings a malloc of its own (%s), which a preloaded one cannot replace - not measuring it",
                        label, proof->other);
    else
        shared_conclude(shared, STATUS_UNAVAILABLE, "%s: %s took malloc from %s, not from %s - not measuring it", label,
                        app->proof, proof->other, library);
}

static void take_status(void) {
    const struct proof proof = read_proof();
    memcpy(shared->result.measured.rejects, proof.rejects, sizeof proof.rejects);
    for (int i = 0; i < ALLOCATOR_REJECT_COUNT; i++)
        if (proof.rejects[i] != 0)
            shared_conclude(shared, STATUS_REFUSED_FREE, "%s: %" PRIu64 " calls were refused as %s", label,
                            proof.rejects[i], allocator_reject_names[i]);
    if (proof.other[0])
        tell_other_heap(&proof);
    if (proof.took == 0)
        shared_conclude(shared, STATUS_UNAVAILABLE, "%s: nothing proves that %s took malloc from %s - not measuring it",
                        label, app->proof, library);
    // Between two looks a peak can be missed; that of the largest process the kernel has kept.
    if (is_command() && proof.largest_peak > shared->result.measured.rss_peak)
        shared->result.measured.rss_peak = proof.largest_peak;
    if (is_command() && proof.others != 0)
        fprintf(stderr, "%u of its processes took malloc from elsewhere, the last was %s\n", proof.others,
                proof.last_other);
    shared_conclude(shared, STATUS_OK, "%s", "");
}

// ---- the sample ----------------------------------------------------------------------------------------------------

static void take_usage(const struct rusage *usage) {
    struct measurement *result = &shared->result.measured;
    result->user_ns = (uint64_t)usage->ru_utime.tv_sec * 1000000000u + (uint64_t)usage->ru_utime.tv_usec * 1000u;
    result->system_ns = (uint64_t)usage->ru_stime.tv_sec * 1000000000u + (uint64_t)usage->ru_stime.tv_usec * 1000u;
    result->voluntary_switches = (uint64_t)usage->ru_nvcsw;
    result->involuntary_switches = (uint64_t)usage->ru_nivcsw;
    result->minor_faults = (uint64_t)usage->ru_minflt;
    result->major_faults = (uint64_t)usage->ru_majflt;
}

static void take_work(uint64_t begin_ns, uint64_t end_ns) {
    shared->result.measured.elapsed_ns = end_ns - begin_ns;
    shared->result.measured.ops = shared->request.params.ops * shared->request.params.threads;
}

// The hash of a program's events, where the program writes one.
static void take_stream_hash(void) {
    char path[TEXT_BYTES + 16];
    uint64_t hash = NOT_MEASURED;
    snprintf(path, sizeof path, "%s/stream_hash", directory);
    FILE *file = is_command() ? NULL : fopen(path, "re");
    if (file != NULL && fscanf(file, "%16" SCNx64, &hash) == 1)
        shared->result.measured.stream_hash = hash;
    if (file != NULL)
        fclose(file);
}

static int run_batch(void) {
    struct step work;
    shared_enter(shared, PHASE_MEASURED);
    const uint64_t begin_ns = os_now_ns();
    if (!start(&work, "work", 1))
        return 0;
    work_pid = work.pid;
    watch_until(&work, UINT64_MAX, 0);
    if (is_told_to_end)
        return 0;
    if (!succeeded(&work)) {
        const struct proof proof = read_proof();
        if (is_command() && proof.other[0])
            tell_other_heap(&proof);
        return tell_failure(&work, STATUS_CRASHED);
    }
    take_work(begin_ns, os_now_ns());
    take_usage(&work.usage);
    take_stream_hash();
    return 1;
}

static int signal_number(const char *name) {
    for (int number = 1; number < NSIG; number++) {
        const char *known = sigabbrev_np(number);
        if (known != NULL && strcmp(known, name) == 0)
            return number;
    }
    return SIGTERM;
}

static int wait_ready(struct step *server) {
    const uint64_t until_ns = os_now_ns() + READY_TRIES_NS;
    struct step ready;
    do {
        if (!start(&ready, "ready", 0))
            return 0;
        watch_until(&ready, UINT64_MAX, ready.pid);
        if (has_ended(server))
            return tell_failure(server, STATUS_CRASHED);
        if (succeeded(&ready))
            return 1;
        watch_until(server, os_now_ns() + READY_PAUSE_NS, 0);
    } while (os_now_ns() < until_ns && !is_told_to_end);
    return tell_failure(&ready, STATUS_ERROR);
}

static int load_server(struct step *server) {
    struct step load;
    struct measurement *result = &shared->result.measured;
    result->rss_baseline = watch(0);
    shared_enter(shared, PHASE_MEASURED);
    const uint64_t begin_ns = os_now_ns();
    if (!start(&load, "load", 0))
        return 0;
    watch_until(&load, UINT64_MAX, load.pid);
    const uint64_t end_ns = os_now_ns();
    if (is_told_to_end)
        return 0;
    if (has_ended(server))
        return tell_failure(server, STATUS_CRASHED);
    if (!succeeded(&load))
        return tell_failure(&load, STATUS_ERROR);
    take_work(begin_ns, end_ns);
    result->rss_work = watch(0);
    return 1;
}

static uint64_t watch_at(void *server, uint64_t until_ns) {
    watch_until(server, until_ns, 0);
    return watch(0);
}

static int stop_server(struct step *server) {
    const int number = signal_number(app->stop);
    if (has_ended(server))
        return tell_failure(server, STATUS_CRASHED);
    shared_enter(shared, PHASE_TEAR_DOWN);
    kill(server->pid, number);
    watch_until(server, os_now_ns() + STOP_NS, 0);
    if (server->is_running)
        return shared_conclude(shared, STATUS_ERROR, "%s: the server did not end within %g s of SIG%s", label,
                               (double)STOP_NS / 1e9, app->stop);
    if (WIFSIGNALED(server->status) && WTERMSIG(server->status) != number)
        return tell_failure(server, STATUS_CRASHED);
    take_usage(&server->usage);
    return 1;
}

static int run_server(void) {
    struct step server;
    shared_enter(shared, PHASE_WARM_UP);
    if (!start(&server, "serve", 1) || !wait_ready(&server) || !load_server(&server))
        return 0;
    shared_enter(shared, PHASE_SETTLE);
    rss_settle(shared, watch_at, &server);
    return stop_server(&server);
}

// ---- before and after ----------------------------------------------------------------------------------------------

static int find_library(void) {
    char why[sizeof shared->result.message], given[TEXT_BYTES];
    if (allocator_spec_parse(shared->request.allocator, &spec, why, sizeof why) != ALLOCATOR_LOADED ||
        allocator_find(&spec, given, sizeof given, why, sizeof why) != ALLOCATOR_LOADED)
        return shared_conclude(shared, STATUS_UNAVAILABLE, "%s", why);
    if (spec.backend != NULL && strcmp(spec.backend->name, "null") == 0)
        return shared_conclude(shared, STATUS_UNAVAILABLE, "%s: null stores nothing, a program cannot run on it",
                               label);
    if (!os_library_real_path(given, library, sizeof library) || strpbrk(library, " :") != NULL)
        return shared_conclude(shared, STATUS_UNAVAILABLE, "%s: LD_PRELOAD cannot hold this path - move the library",
                               given);
    snprintf(shared->result.proof.path, sizeof shared->result.proof.path, "%.500s", library);
    if (!os_library_find_own("hzbench-app", "libhzrun.so", companion, sizeof companion))
        return shared_conclude(shared, STATUS_UNAVAILABLE,
                               "libhzrun.so is not beside hzbench-app - build everything or install");
    return 1;
}

static int find_scripts(void) {
    static const char *const places[] = {"workloads/apps", "../../share/hzbench/apps"};
    char self[OS_PATH_BYTES], step[TEXT_BYTES + 8];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!os_library_executable_directory(self, sizeof self))
            break;
        snprintf(scripts, sizeof scripts, "%s/%s", self, places[i]);
        snprintf(step, sizeof step, "%s/step", scripts);
        if (os_library_is_file(step))
            return 1;
    }
    return shared_conclude(shared, STATUS_ERROR,
                           "workloads/apps is not beside hzbench-app - build everything or install");
}

// Whether the program's user can do that with the file: only a process of that user knows.
static int user_can(const char *path, int how) {
    int status = 0;
    if (other_user() == NULL)
        return 1;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(become_user() && access(path, how) == 0 ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int make_directory(void) {
    const char *temporary = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%.2000s/hzbench-app-XXXXXX",
             temporary != NULL && *temporary ? temporary : "/tmp");
    const struct passwd *user = other_user();
    if (mkdtemp(directory) == NULL || (user != NULL && chown(directory, user->pw_uid, user->pw_gid) != 0))
        return shared_conclude(shared, STATUS_ERROR, "%s: %s - set TMPDIR to a directory that can be written",
                               directory, strerror(errno));
    snprintf(report, sizeof report, "%s.report", directory);
    const int fd = open(report, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return shared_conclude(shared, STATUS_ERROR, "%s: %s", report, strerror(errno));
    fchmod(fd, 0622); // the program's user appends to it
    close(fd);
    if (!user_can(directory, X_OK))
        return shared_conclude(shared, STATUS_ERROR,
                               "%s: %s, whom %s runs as, cannot enter it - set TMPDIR to a directory "
                               "that every user can enter",
                               directory, app->user, label);
    return 1;
}

static int copy_file(const char *from, const char *to) {
    char block[65536];
    ssize_t got = 0;
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    const int out = in >= 0 ? open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755) : -1;
    int is_well = out >= 0 && fchmod(out, 0755) == 0; // whatever the umask
    while (is_well && (got = read(in, block, sizeof block)) > 0)
        is_well = write(out, block, (size_t)got) == got;
    is_well = is_well && got == 0;
    if (in >= 0)
        close(in);
    return (out < 0 || close(out) == 0) && is_well;
}

// `path` becomes the path of a copy that every user can read.
static int copy_for_user(char path[TEXT_BYTES]) {
    char copy[2 * TEXT_BYTES];
    snprintf(copy, sizeof copy, "%s/%s", copies, strrchr(path, '/') + 1);
    if (!copy_file(path, copy) || strlen(copy) >= TEXT_BYTES)
        return shared_conclude(shared, STATUS_ERROR, "cannot copy %s to %s for user %s: %s", path, copies, app->user,
                               strerror(errno));
    memcpy(path, copy, strlen(copy) + 1);
    return 1;
}

static int copy_scripts(void) {
    DIR *folder = opendir(scripts);
    struct dirent *entry;
    int is_well = folder != NULL;
    while (is_well && (entry = readdir(folder)) != NULL) {
        char path[TEXT_BYTES];
        const int length = snprintf(path, sizeof path, "%s/%s", scripts, entry->d_name);
        if ((size_t)length < sizeof path && os_library_is_file(path))
            is_well = copy_for_user(path);
    }
    if (folder != NULL)
        closedir(folder);
    snprintf(scripts, sizeof scripts, "%.4000s", copies);
    return is_well;
}

// A program that runs as another user opens nothing in a place that is closed to that user, such as a clone in root's
// home: what it needs of there is copied.
static int make_readable(void) {
    char step[TEXT_BYTES + 8];
    snprintf(preloaded, sizeof preloaded, "%s", library);
    if (other_user() == NULL)
        return 1;
    snprintf(copies, sizeof copies, "%s.copies", directory);
    if (mkdir(copies, 0755) != 0 || chmod(copies, 0755) != 0)
        return shared_conclude(shared, STATUS_ERROR, "%s: %s", copies, strerror(errno));
    snprintf(step, sizeof step, "%s/step", scripts);
    return (user_can(preloaded, R_OK) || copy_for_user(preloaded)) &&
           (user_can(companion, R_OK) || copy_for_user(companion)) && (user_can(step, R_OK) || copy_scripts());
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status;
    (void)kind;
    (void)where;
    remove(path);
    return 0;
}

static void remove_all(void) {
    static const char *const logs[] = {"programs", "prepare", "serve", "ready", "load", "work"};
    char path[TEXT_BYTES + 32];
    if (!directory[0])
        return;
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (copies[0])
        nftw(copies, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
        snprintf(path, sizeof path, "%s.%s.log", directory, logs[i]);
        unlink(path);
    }
    unlink(report);
}

static int run_command(void) {
    static char text[WORKLOAD_COMMAND_BYTES];
    static struct app own = {.name = "program", .user = "", .stop = "TERM"};
    snprintf(text, sizeof text, "%s", shared->request.command);
    words_split(text, command, sizeof command / sizeof command[0] - 1);
    if (!is_command())
        return shared_conclude(shared, STATUS_ERROR, "no command - runner and hzbench-app are of different builds");
    const char *name = strrchr(command[0], '/') != NULL ? strrchr(command[0], '/') + 1 : command[0];
    snprintf(label, sizeof label, "%.60s", name);
    own.proof = label;
    app = &own;
    if (!find_library() || !make_directory() || !make_readable())
        return 0;
    shared_enter(shared, PHASE_LOADED);
    if (shared->request.prepare[0] && !run_outside("prepare"))
        return 0;
    watch_interval_ns = shared->request.rss_interval_ns;
    return run_batch();
}

static int run_app(void) {
    if (strcmp(shared->request.workload, "program") == 0)
        return run_command();
    app = app_find(shared->request.params.input);
    if (app == NULL)
        return shared_conclude(shared, STATUS_ERROR,
                               "unknown program '%s' - runner and hzbench-app are of different builds",
                               shared->request.params.input);
    snprintf(label, sizeof label, "app:%s", app->name);
    if (!find_library() || !find_scripts() || !make_directory() || !make_readable() || !run_outside("programs"))
        return 0;
    shared_enter(shared, PHASE_LOADED);
    if (!run_outside("prepare"))
        return 0;
    watch_interval_ns = shared->request.rss_interval_ns; // before there was nothing to see
    return app->is_server ? run_server() : run_batch();
}

static void take_peak(void) {
    shared->result.measured.rss_peak = is_hidden ? NOT_MEASURED : peak_bytes;
    if (!is_hidden)
        return;
    fputs("/proc does not show the memory of all its processes: memory is left empty\n", stderr);
    // ORDER: relaxed; the runner reads after this process has ended.
    atomic_store_explicit(&shared->rss_points, 0, memory_order_relaxed);
}

static void keep(pid_t parent) {
    struct sigaction action = {.sa_handler = on_end};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent && run_app()) {
        take_peak();
        shared->result.measured.harness_bytes = 0; // the keeper is none of the processes that are watched
        take_status();
    }
    app_tree_kill();
    remove_all();
    if (!is_told_to_end)
        shared_enter(shared, PHASE_DONE);
}

int main(void) {
    started_ns = os_now_ns();
    shared = os_shared_map(OS_SHARED_FD, sizeof *shared);
    if (shared == NULL || shared->request.magic != SHARED_MAGIC) {
        fprintf(
            stderr,
            "hzbench-app: file descriptor %d is not a sample's memory - this program is started by runner, run that\n",
            OS_SHARED_FD);
        return EXIT_USAGE;
    }
    shared_forget(&shared->result);
    shared_enter(shared, PHASE_START);
    if (shared->request.version != SHARED_VERSION) {
        shared_conclude(shared, STATUS_ERROR,
                        "the sample's memory has version %" PRIu32 ", hzbench-app knows %u - rebuild both",
                        shared->request.version, SHARED_VERSION);
        return 0;
    }
    const pid_t self = getpid();
    const pid_t keeper = fork();
    if (keeper < 0)
        shared_conclude(shared, STATUS_ERROR, "cannot start a process: %s", strerror(errno));
    if (keeper == 0) {
        keep(self);
        _exit(0);
    }
    int status = 0;
    while (keeper > 0 && waitpid(keeper, &status, 0) < 0 && errno == EINTR)
        continue;
    return 0;
}
