// SPDX-License-Identifier: Apache-2.0
// huge_pages.h on Linux: PR_SET_THP_DISABLE, and /sys/kernel/mm/transparent_hugepage/enabled. Layer: runner, system.
#include "huge_pages.h"

#include "../../workloads/workload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWITCH "/sys/kernel/mm/transparent_hugepage/enabled"
#define WORD_BYTES 16
#define EXCEPT_ADVISED 2 // PR_THP_DISABLE_EXCEPT_ADVISED of Linux 6.18

// The switch while it is ours: from the first change to huge_pages_restore.
static struct {
    int fd;       // -1: not ours. Locked: of two runs one only may change it
    int guard_fd; // the guardian waits for its end
    pid_t guardian;
    char before[WORD_BYTES], now[WORD_BYTES];
} held = {.fd = -1, .guard_fd = -1};

// The word in brackets, or all of it. Returns 0 or an errno value.
static int read_switch(int fd, char word[WORD_BYTES]) {
    char text[128];
    const ssize_t got = pread(fd, text, sizeof text - 1, 0);
    if (got < 0)
        return errno;
    text[got] = '\0';
    const char *open = strchr(text, '[');
    const char *start = open != NULL ? open + 1 : text;
    snprintf(word, WORD_BYTES, "%.*s", (int)strcspn(start, "] \n"), start);
    return word[0] != '\0' ? 0 : EIO;
}

static int write_switch(int fd, const char *word) {
    return pwrite(fd, word, strlen(word), 0) < 0 ? errno : 0;
}

// Waits until nobody holds the other end of the pipe any more: the runner has closed it, or has ended in any way.
_Noreturn static void guard(int pipe_fd, int switch_fd, const char *before) {
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT};
    char ignored;
    setsid();
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_IGN);
    // Nothing else of the runner's, such as locks and the ends of pipes, may stay open in here.
    if (dup2(pipe_fd, 0) < 0 || dup2(switch_fd, 1) < 0 || close_range(2, ~0u, 0) != 0)
        _exit(1);
    while (read(0, &ignored, 1) < 0 && errno == EINTR)
        continue;
    _exit(write_switch(1, before) != 0);
}

static int start_guardian(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    const pid_t pid = fork();
    const int error = pid < 0 ? errno : 0;
    if (pid == 0) {
        close(ends[1]);
        guard(ends[0], held.fd, held.before);
    }
    close(ends[0]);
    if (error != 0)
        close(ends[1]);
    held.guard_fd = error == 0 ? ends[1] : -1;
    held.guardian = pid;
    return error;
}

// Takes hold of the switch. Returns 0 or an errno value.
static int hold(void) {
    if (held.fd >= 0)
        return 0;
    held.fd = open(SWITCH, O_RDWR | O_CLOEXEC);
    int error = held.fd < 0 || flock(held.fd, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
    if (error == 0)
        error = read_switch(held.fd, held.before);
    if (error == 0)
        error = start_guardian();
    memcpy(held.now, held.before, sizeof held.now);
    if (error != 0 && held.fd >= 0) {
        close(held.fd);
        held.fd = -1;
    }
    return error;
}

static int refuse_switch(const char *before, const char *word, int error, char *why, size_t why_bytes) {
    if (error == EWOULDBLOCK)
        snprintf(why, why_bytes, "--thp: another run has changed " SWITCH " - wait for its end");
    else
        snprintf(why, why_bytes,
                 "--thp=%s: the system's switch is at %s and cannot be changed (%s) - as root: echo %s > " SWITCH, word,
                 before, strerror(error), word);
    return 0;
}

static int set_switch(const char *before, const char *word, char *why, size_t why_bytes) {
    int error = hold();
    if (error == 0 && strcmp(held.now, word) != 0)
        error = write_switch(held.fd, word);
    if (error != 0)
        return refuse_switch(before, word, error, why, why_bytes);
    snprintf(held.now, sizeof held.now, "%s", word);
    return 1;
}

// Whether this kernel lets a process have huge pages where it asks for them and nowhere else. By a child.
static int knows_advised_only(void) {
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(huge_pages_ask(HUGE_PAGES_ADVISED_ONLY) != 0);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// What the switch says when nobody holds it. Returns 0 with the reason when there is none.
static int read_before(char before[WORD_BYTES], char *why, size_t why_bytes) {
    if (held.fd >= 0) {
        memcpy(before, held.before, WORD_BYTES);
        return 1;
    }
    const int fd = open(SWITCH, O_RDONLY | O_CLOEXEC);
    const int error = fd < 0 ? errno : read_switch(fd, before);
    if (fd >= 0)
        close(fd);
    if (error != 0)
        snprintf(why, why_bytes, "--thp: this kernel has no transparent huge pages (" SWITCH ": %s) - leave it out",
                 strerror(error));
    return error == 0;
}

int huge_pages_set(uint32_t mode, uint32_t *process, const char **by, char *why, size_t why_bytes) {
    char before[WORD_BYTES];
    const char *wanted = "";
    *process = HUGE_PAGES_AS_IS;
    *by = "";
    if (mode == THP_DEFAULT)
        return held.fd < 0 || set_switch(held.before, held.before, why, why_bytes);
    if (!read_before(before, why, why_bytes))
        return 0;
    if (mode == THP_NEVER) {
        *process = HUGE_PAGES_DISABLED;
        *by = "prctl";
    } else if (mode == THP_ALWAYS) {
        wanted = "always";
    } else if (strcmp(before, "always") == 0 && knows_advised_only()) {
        *process = HUGE_PAGES_ADVISED_ONLY;
        *by = "prctl";
    } else {
        wanted = "madvise";
    }
    if (wanted[0] == '\0' || strcmp(wanted, before) == 0)
        return held.fd < 0 || set_switch(before, before, why, why_bytes);
    *by = "switch";
    return set_switch(before, wanted, why, why_bytes);
}

int huge_pages_restore(char *why, size_t why_bytes) {
    int status = 0;
    if (held.fd < 0)
        return 1;
    close(held.guard_fd);
    while (waitpid(held.guardian, &status, 0) < 0 && errno == EINTR)
        continue;
    const int is_restored = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!is_restored)
        snprintf(why, why_bytes, "--thp: " SWITCH " could not be set back - as root: echo %s > " SWITCH, held.before);
    close(held.fd);
    held.fd = -1;
    return is_restored;
}

int huge_pages_ask(uint32_t process) {
    const unsigned long flags = process == HUGE_PAGES_ADVISED_ONLY ? EXCEPT_ADVISED : 0;
    if (process == HUGE_PAGES_AS_IS)
        return 0;
    return prctl(PR_SET_THP_DISABLE, 1UL, flags, 0UL, 0UL) != 0 ? errno : 0;
}
