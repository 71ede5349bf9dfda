// SPDX-License-Identifier: Apache-2.0
// Linux: workers by fork and execve, the shared memory as a memfd, waiting on a pidfd. Layer: runner.
#include "process.h"

#include "os.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Descriptors the runner keeps for a worker lie above those the worker is given (0 to 3), so dup2 never meets its
// source.
#define FIRST_OWN_FD 10

// Where there is no pidfd the wait looks this often; fine enough for limits in seconds.
#define POLL_NS 2000000

// A batch system that ends a job signals its processes one after the other: within so long ours follows the worker's.
#define OURS_FOLLOWS_NS UINT64_C(2000000000)

const int process_can_preload = 1;

const char *process_platform(void) {
    return "linux";
}

// timeout(1) and some shells signal the process and then its group: two signals at once are one interrupt.
#define ONE_INTERRUPT_NS UINT64_C(500000000)

static volatile sig_atomic_t interrupt_count;
static _Atomic uint64_t interrupted_ns;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_interrupt(int number) {
    (void)number;
    const uint64_t now = now_ns();
    if (interrupt_count == 0 || now - atomic_load_explicit(&interrupted_ns, memory_order_relaxed) >= ONE_INTERRUPT_NS)
        interrupt_count = interrupt_count + 1;
    atomic_store_explicit(&interrupted_ns, now, memory_order_relaxed);
}

void process_catch_interrupts(void) {
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

int process_interrupted(void) {
    return interrupt_count != 0;
}

static int memory_file(const char *name) {
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0 || fd >= FIRST_OWN_FD)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_OWN_FD);
    int error = errno;
    close(fd);
    errno = error;
    return high;
}

int process_prepare(struct process_worker *worker, uint64_t shared_bytes) {
    *worker = (struct process_worker){.shared_bytes = shared_bytes, .shared_fd = -1, .output_fd = -1, .pid_fd = -1};
    worker->shared_fd = memory_file("hzbench-sample");
    worker->output_fd = memory_file("hzbench-output");
    if (worker->shared_fd < 0 || worker->output_fd < 0 ||
        ftruncate(worker->shared_fd, (off_t)worker->shared_bytes) != 0)
        return 0;
    void *memory = mmap(NULL, worker->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, worker->shared_fd, 0);
    if (memory == MAP_FAILED)
        return 0;
    worker->shared = memory;
    return 1;
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void process_release(struct process_worker *worker) {
    if (worker->shared != NULL)
        munmap(worker->shared, worker->shared_bytes);
    worker->shared = NULL;
    close_fd(&worker->shared_fd);
    close_fd(&worker->output_fd);
    close_fd(&worker->pid_fd);
}

// Only async-signal-safe calls, as in any child before its exec.
static void become_worker(const struct process_worker *worker, const char *path, char *wrapper,
                          char *const environment[], int parent) {
    static const char failed[] = "hzbench-worker, or the command of --wrapper, cannot be executed\n";
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, 0);
    dup2(worker->output_fd, 1);
    dup2(worker->output_fd, 2);
    dup2(worker->shared_fd, OS_SHARED_FD);
    if (null > OS_SHARED_FD)
        close(null);
    char *arguments[PROCESS_WRAPPER_WORDS + 2] = {NULL};
    size_t count = 0;
    for (char *word = wrapper; *word != '\0' && count < PROCESS_WRAPPER_WORDS; word += strspn(word, " ")) {
        arguments[count++] = word;
        word += strcspn(word, " ");
        if (*word != '\0')
            *word++ = '\0';
    }
    arguments[count] = (char *)(uintptr_t)path;
    execvpe(arguments[0], arguments, environment);
    ssize_t ignored = write(2, failed, sizeof failed - 1);
    (void)ignored;
    _exit(127);
}

int process_start(struct process_worker *worker, const char *path, const char *wrapper, char *const environment[]) {
    int parent = (int)getpid();
    char words[PROCESS_WRAPPER_BYTES];
    snprintf(words, sizeof words, "%s", wrapper);
    pid_t pid = fork();
    if (pid < 0)
        return 0;
    if (pid == 0)
        become_worker(worker, path, words, environment, parent);
    // Both sides set the group: whoever is first, a kill of the group finds it.
    setpgid(pid, pid);
    worker->pid = (int)pid;
    worker->pid_fd = pidfd_open(pid, 0);
    return 1;
}

static enum process_end reap(struct process_worker *worker, int *code) {
    int status = 0;
    while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    // Whatever the worker has started itself must not outlive it into the next sample.
    kill(-worker->pid, SIGKILL);
    worker->pid = 0;
    if (WIFSIGNALED(status)) {
        *code = WTERMSIG(status);
        return PROCESS_SIGNALLED;
    }
    *code = WEXITSTATUS(status);
    return PROCESS_EXITED;
}

static int has_ended(const struct process_worker *worker) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)worker->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

static void await_interrupt(void) {
    const uint64_t deadline_ns = now_ns() + OURS_FOLLOWS_NS;
    while (interrupt_count == 0 && now_ns() < deadline_ns)
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
}

enum process_end process_wait(struct process_worker *worker, uint64_t timeout_ns, const struct process_watch *watch,
                              int *code) {
    uint64_t deadline_ns = now_ns() + timeout_ns;
    uint64_t look_ns = watch != NULL ? now_ns() + PROCESS_LOOK_NS : UINT64_MAX;
    sig_atomic_t borne = 0; // interrupts after which the worker is waited for
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGHUP);
    // Blocked between the look at the flag and the poll, so that no interrupt is slept through.
    sigprocmask(SIG_BLOCK, &block, &before);
    enum process_end end;
    for (;;) {
        if (has_ended(worker)) {
            end = reap(worker, code);
            break;
        }
        uint64_t now = now_ns();
        if (interrupt_count > 0 && borne == 0 && watch != NULL && watch->end_early(watch->context))
            borne = interrupt_count;
        const int is_interrupted = interrupt_count > borne;
        if (is_interrupted || now >= deadline_ns) {
            kill(-worker->pid, SIGKILL);
            end = is_interrupted ? PROCESS_INTERRUPTED : PROCESS_TIMEOUT;
            reap(worker, code);
            break;
        }
        if (now >= look_ns) {
            watch->look(watch->context);
            look_ns = now + PROCESS_LOOK_NS;
        }
        uint64_t left_ns = (look_ns < deadline_ns ? look_ns : deadline_ns) - now;
        if (worker->pid_fd < 0 && left_ns > POLL_NS)
            left_ns = POLL_NS;
        struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000u), .tv_nsec = (long)(left_ns % 1000000000u)};
        struct pollfd ended = {.fd = worker->pid_fd, .events = POLLIN};
        ppoll(&ended, 1, &left, &before);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (end == PROCESS_SIGNALLED && sigismember(&block, *code) == 1)
        await_interrupt();
    // A terminal sends its interrupt to us only (the worker has a group of its own), but the user may kill both.
    if (end == PROCESS_SIGNALLED && interrupt_count > 0)
        end = PROCESS_INTERRUPTED;
    return end;
}

void process_output_line(const struct process_worker *worker, char *out, size_t out_bytes) {
    char text[1024];
    ssize_t got = pread(worker->output_fd, text, sizeof text - 1, 0);
    out[0] = '\0';
    if (got <= 0)
        return;
    text[got] = '\0';
    char *start = text;
    while (*start && isspace((unsigned char)*start))
        start++;
    start[strcspn(start, "\n")] = '\0';
    snprintf(out, out_bytes, "%s", start);
}

void process_signal_name(int number, char *out, size_t out_bytes) {
    const char *name = sigabbrev_np(number);
    if (name != NULL)
        snprintf(out, out_bytes, "SIG%s", name);
    else
        snprintf(out, out_bytes, "signal %d", number);
}

int process_find_worker(char *out, size_t out_bytes, char *why, size_t why_bytes) {
    static const char *const places[] = {"hzbench-worker", "../libexec/hzbench/hzbench-worker"};
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) {
        snprintf(why, why_bytes, "/proc/self/exe: %s - mount /proc, which also tells memory and CPU time",
                 strerror(errno));
        return 0;
    }
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    slash = slash != NULL ? slash + 1 : self;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int written = snprintf(out, out_bytes, "%s%s", self, places[i]);
        if (written > 0 && (size_t)written < out_bytes && access(out, X_OK) == 0)
            return 1;
    }
    snprintf(why, why_bytes, "hzbench-worker is not beside runner - build everything (ninja -C BUILD)");
    return 0;
}
