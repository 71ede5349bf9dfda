// SPDX-License-Identifier: Apache-2.0
// Starts the program with its preloaded libraries, hands signals on, waits, and reads what its processes have reported.
// Layer: runner.
#include "hzrun.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// What a person or a supervisor sends to a program. A terminal sends SIGINT, SIGQUIT and SIGTSTP to the whole group,
// the program among it: hzrun only has to outlive them.
static const int handed_on[] = {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT};
static const int outlived[] = {SIGINT, SIGQUIT};

static volatile sig_atomic_t program_pid;

static void hand_on(int number) {
    int saved = errno;
    if (program_pid > 0)
        kill((pid_t)program_pid, number);
    errno = saved;
}

void hzrun_preload(struct hzrun *run, const char *library) {
    run->preloads[run->preload_count++] = library;
}

void hzrun_set(struct hzrun *run, const char *name, const char *value) {
    run->settings[run->setting_count][0] = name;
    run->settings[run->setting_count++][1] = value;
}

// Ours first, then what the caller preloads anyway.
static int set_preloads(const struct hzrun *run, char *why, size_t why_bytes) {
    char list[HZRUN_PRELOADS_MAX * HZRUN_PATH_BYTES + HZRUN_PATH_BYTES] = "";
    const char *others = getenv("LD_PRELOAD");
    size_t used = 0;
    for (size_t i = 0; i <= run->preload_count; i++) {
        const char *library = i < run->preload_count ? run->preloads[i] : others;
        if (library == NULL || library[0] == '\0')
            continue;
        if (i < run->preload_count && strpbrk(library, " :") != NULL) {
            snprintf(why, why_bytes, "'%s': LD_PRELOAD cannot hold a path with a blank or a colon - move the library",
                     library);
            return 0;
        }
        int wrote = snprintf(list + used, sizeof list - used, "%s%s", used != 0 ? ":" : "", library);
        if (wrote < 0 || (size_t)wrote >= sizeof list - used) {
            snprintf(why, why_bytes, "LD_PRELOAD would be longer than %zu bytes - shorten it", sizeof list);
            return 0;
        }
        used += (size_t)wrote;
    }
    setenv("LD_PRELOAD", list, 1);
    return 1;
}

// In the child; tells a failed exec through the pipe, which a successful one closes.
_Noreturn static void become_program(const struct hzrun *run, int failed_fd, const sigset_t *mask) {
    for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++)
        signal(handed_on[i], SIG_DFL);
    for (size_t i = 0; i < sizeof outlived / sizeof outlived[0]; i++)
        signal(outlived[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    char pid[16];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv(HZRUN_PID_ENV, pid, 1);
    execv(run->file, run->program);
    int error = errno;
    ssize_t ignored = write(failed_fd, &error, sizeof error);
    (void)ignored;
    _exit(127);
}

static int make_report_file(struct hzrun *run, char *why, size_t why_bytes) {
    const char *directory = getenv("TMPDIR");
    snprintf(run->report, sizeof run->report, "%s/hzrun-XXXXXX", directory != NULL && *directory ? directory : "/tmp");
    int fd = mkstemp(run->report);
    if (fd < 0) {
        snprintf(why, why_bytes, "%s: %s - set TMPDIR to a directory that can be written", run->report,
                 strerror(errno));
        run->report[0] = '\0';
        return 0;
    }
    fchmod(fd, 0622); // processes of other users, such as a server's, append to it
    close(fd);
    return 1;
}

static void wait_for(pid_t pid, struct hzrun_end *end) {
    int status = 0;
    struct rusage usage;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    getrusage(RUSAGE_CHILDREN, &usage);
    end->pid = (int)pid;
    end->code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    end->peak_bytes = (uint64_t)usage.ru_maxrss << 10;
}

int hzrun_start(struct hzrun *run, struct hzrun_end *end, char *why, size_t why_bytes) {
    int failed[2];
    if (!set_preloads(run, why, why_bytes) || !make_report_file(run, why, why_bytes))
        return 0;
    setenv(HZRUN_REPORT_ENV, run->report, 1);
    for (size_t i = 0; i < run->setting_count; i++)
        setenv(run->settings[i][0], run->settings[i][1], 1);
    if (pipe2(failed, O_CLOEXEC) != 0) {
        snprintf(why, why_bytes, "no pipe: %s - close some files", strerror(errno));
        return 0;
    }
    // Nothing may arrive between the fork and the moment in which program_pid says to whom it goes.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    struct sigaction action = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    pid_t pid = fork();
    if (pid == 0)
        become_program(run, failed[1], &before);
    close(failed[1]);
    program_pid = (sig_atomic_t)pid;
    for (size_t i = 0; i < sizeof handed_on / sizeof handed_on[0]; i++)
        sigaction(handed_on[i], &action, NULL);
    for (size_t i = 0; i < sizeof outlived / sizeof outlived[0]; i++)
        signal(outlived[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, &before, NULL);
    int error = pid < 0 ? errno : 0;
    if (pid > 0) {
        while (read(failed[0], &error, sizeof error) < 0 && errno == EINTR)
            continue;
        wait_for(pid, end);
    }
    program_pid = 0;
    close(failed[0]);
    if (error != 0)
        snprintf(why, why_bytes, "%s: cannot be started: %s", run->file, strerror(error));
    return error == 0;
}

int hzrun_reports(struct hzrun *run, void (*visit)(const struct hzrun_report *report, void *context), void *context) {
    FILE *file = fopen(run->report, "rb");
    if (file == NULL)
        return 0;
    struct hzrun_report report;
    while (fread(&report, sizeof report, 1, file) == 1)
        visit(&report, context);
    fclose(file);
    return 1;
}

void hzrun_forget(struct hzrun *run) {
    if (run->report[0] != '\0')
        unlink(run->report);
    run->report[0] = '\0';
}

void hzrun_die_of(int signal_number) {
    struct rlimit no_core = {0, 0}; // the program has left one where it may
    setrlimit(RLIMIT_CORE, &no_core);
    signal(signal_number, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(signal_number);
    _exit(128 + signal_number);
}
