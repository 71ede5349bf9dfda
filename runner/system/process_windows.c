// SPDX-License-Identifier: Apache-2.0
// Windows: workers by CreateProcess in a job, the shared memory as a section they inherit, their output in a temporary
// file. Layer: runner.
#include "process.h"

#include "os.h"

#include "../../allocators/loader/os_library.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define KILLED_CODE 0x40010004u // what a killed worker's exit code is; never reported
#define WAIT_MAX_MS 0x7fffffffu
#define LOOK_MS ((DWORD)(PROCESS_LOOK_NS / 1000000))

const int process_can_preload = 0; // names are bound to the library they were linked with

static HANDLE interrupt_event; // manual: stays set
static HANDLE job;             // of the worker that runs, if one does; ends with the runner

const char *process_platform(void) {
    // Wine's ntdll says so itself, by an export that Windows has not.
    return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL ? "wine" : "windows";
}

static BOOL WINAPI on_control(DWORD event) {
    (void)event; // Ctrl-C, Ctrl-Break, a closed window, the end of the session
    SetEvent(interrupt_event);
    return TRUE;
}

void process_catch_interrupts(void) {
    interrupt_event = CreateEventA(NULL, TRUE, FALSE, NULL);
    SetConsoleCtrlHandler(on_control, TRUE);
    // A worker that crashes must end, not ask somebody at a screen; it inherits this.
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    job = CreateJobObjectA(NULL, NULL);
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {
        .BasicLimitInformation = {.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE}};
    SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
}

int process_interrupted(void) {
    return interrupt_event != NULL && WaitForSingleObject(interrupt_event, 0) == WAIT_OBJECT_0;
}

// Handles fit into 32 bits, so that 32-bit programs can be handed them.
static HANDLE handle_of(int number) {
    return (HANDLE)(intptr_t)number;
}

static int number_of(HANDLE handle) {
    return handle == NULL ? -1 : (int)(intptr_t)handle;
}

static SECURITY_ATTRIBUTES inherited = {.nLength = sizeof(SECURITY_ATTRIBUTES), .bInheritHandle = TRUE};

static HANDLE output_file(void) {
    char directory[MAX_PATH], name[MAX_PATH];
    if (GetTempPathA(sizeof directory, directory) == 0 || GetTempFileNameA(directory, "hzb", 0, name) == 0)
        return INVALID_HANDLE_VALUE;
    return CreateFileA(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                       &inherited, CREATE_ALWAYS, FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, NULL);
}

int process_prepare(struct process_worker *worker, uint64_t shared_bytes) {
    *worker = (struct process_worker){.shared_bytes = shared_bytes, .shared_fd = -1, .output_fd = -1, .pid_fd = -1};
    worker->shared_fd =
        number_of(CreateFileMappingA(INVALID_HANDLE_VALUE, &inherited, PAGE_READWRITE, 0, (DWORD)shared_bytes, NULL));
    worker->output_fd = number_of(output_file());
    if (worker->shared_fd != -1)
        worker->shared = MapViewOfFile(handle_of(worker->shared_fd), FILE_MAP_ALL_ACCESS, 0, 0, (SIZE_T)shared_bytes);
    errno = ENOMEM;
    return worker->shared != NULL && worker->output_fd != -1;
}

static void close_handle(int *number) {
    if (*number != -1)
        CloseHandle(handle_of(*number));
    *number = -1;
}

void process_release(struct process_worker *worker) {
    if (worker->shared)
        UnmapViewOfFile(worker->shared);
    worker->shared = NULL;
    close_handle(&worker->shared_fd);
    close_handle(&worker->output_fd);
    close_handle(&worker->pid_fd);
}

// The variables one behind the other, each with its end, an empty one last, and the section's handle among them.
static char *environment_block(char *const environment[], int section) {
    char cell[64];
    int cell_length = snprintf(cell, sizeof cell, "%s=%d", OS_SHARED_ENV, section);
    size_t bytes = (size_t)cell_length + 2;
    for (size_t i = 0; environment[i]; i++)
        bytes += strlen(environment[i]) + 1;
    char *block = malloc(bytes), *at = block;
    for (size_t i = 0; block && environment[i]; i++)
        at = (char *)memcpy(at, environment[i], strlen(environment[i]) + 1) + strlen(environment[i]) + 1;
    if (block) {
        memcpy(at, cell, (size_t)cell_length + 1);
        at[cell_length + 1] = '\0';
    }
    return block;
}

int process_start(struct process_worker *worker, const char *path, const char *wrapper, char *const environment[]) {
    char command[PROCESS_WRAPPER_BYTES + 1100];
    char *block = environment_block(environment, worker->shared_fd);
    HANDLE null =
        CreateFileA("NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, OPEN_EXISTING, 0, NULL);
    STARTUPINFOA start = {.cb = sizeof start,
                          .dwFlags = STARTF_USESTDHANDLES,
                          .hStdInput = null,
                          .hStdOutput = handle_of(worker->output_fd),
                          .hStdError = handle_of(worker->output_fd)};
    PROCESS_INFORMATION started;
    snprintf(command, sizeof command, "%s%s\"%s\"", wrapper, *wrapper != '\0' ? " " : "", path);
    // A group of its own: a Ctrl-C at the console is the runner's. Suspended until it is in the job, which takes it and
    // whatever it starts along when the runner ends, however that ends.
    int ok = block && CreateProcessA(*wrapper != '\0' ? NULL : path, command, NULL, NULL, TRUE,
                                     CREATE_SUSPENDED | CREATE_NEW_PROCESS_GROUP, block, NULL, &start, &started);
    free(block);
    CloseHandle(null);
    if (!ok) {
        errno = ENOEXEC;
        return 0;
    }
    AssignProcessToJobObject(job, started.hProcess);
    ResumeThread(started.hThread);
    CloseHandle(started.hThread);
    worker->pid = (int)started.dwProcessId;
    worker->pid_fd = number_of(started.hProcess);
    return 1;
}

static DWORD left_ms(uint64_t deadline_ns) {
    uint64_t now_ns = os_now_ns();
    uint64_t left = now_ns < deadline_ns ? (deadline_ns - now_ns + 999999) / 1000000 : 0;
    return left < WAIT_MAX_MS ? (DWORD)left : WAIT_MAX_MS;
}

enum process_end process_wait(struct process_worker *worker, uint64_t timeout_ns, const struct process_watch *watch,
                              int *code) {
    const uint64_t deadline_ns = os_now_ns() + timeout_ns;
    HANDLE process = handle_of(worker->pid_fd);
    const HANDLE either[] = {process, interrupt_event};
    DWORD woken = WAIT_TIMEOUT;
    DWORD watched = 2; // 1: it ends by itself
    do {
        const DWORD left = left_ms(deadline_ns);
        woken = WaitForMultipleObjects(watched, either, FALSE, watch != NULL && left > LOOK_MS ? LOOK_MS : left);
        if (woken == WAIT_TIMEOUT && watch != NULL)
            watch->look(watch->context);
        if (woken == WAIT_OBJECT_0 + 1 && watch != NULL && watch->end_early(watch->context)) {
            watched = 1;
            woken = WAIT_TIMEOUT;
        }
    } while (woken == WAIT_TIMEOUT && left_ms(deadline_ns) > 0);
    DWORD exit_code = 0;
    if (woken == WAIT_OBJECT_0)
        GetExitCodeProcess(process, &exit_code);
    // The worker, if it runs, and whatever it has started: nothing of it may outlive it into the next sample.
    TerminateJobObject(job, KILLED_CODE);
    WaitForSingleObject(process, INFINITE);
    worker->pid = 0;
    *code = (int)exit_code;
    if (woken != WAIT_OBJECT_0)
        return woken == WAIT_TIMEOUT ? PROCESS_TIMEOUT : PROCESS_INTERRUPTED;
    if (watched == 2 && process_interrupted())
        return PROCESS_INTERRUPTED;
    return exit_code >= 0x80000000u ? PROCESS_SIGNALLED : PROCESS_EXITED; // an exception nobody handled
}

void process_output_line(const struct process_worker *worker, char *out, size_t out_bytes) {
    char text[1024];
    OVERLAPPED from_start = {0};
    DWORD got = 0;
    out[0] = '\0';
    if (!ReadFile(handle_of(worker->output_fd), text, sizeof text - 1, &got, &from_start) || got == 0)
        return;
    text[got] = '\0';
    char *start = text;
    while (*start && isspace((unsigned char)*start))
        start++;
    start[strcspn(start, "\r\n")] = '\0';
    snprintf(out, out_bytes, "%s", start);
}

void process_signal_name(int number, char *out, size_t out_bytes) {
    static const struct {
        unsigned code;
        const char *name;
    } exceptions[] = {
        {0xC0000005u, "access violation"},    {0xC0000374u, "heap corruption (abort)"}, {0xC00000FDu, "stack overflow"},
        {0xC000001Du, "illegal instruction"}, {0xC0000094u, "division by zero"},        {0xC0000409u, "fail fast"},
        {0xC0000135u, "a DLL is missing"},    {0xC0000017u, "out of memory"},           {0x80000003u, "breakpoint"},
    };
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++)
        if (exceptions[i].code == (unsigned)number) {
            snprintf(out, out_bytes, "%s", exceptions[i].name);
            return;
        }
    snprintf(out, out_bytes, "exception 0x%08x", (unsigned)number);
}

int process_find_worker(char *out, size_t out_bytes, char *why, size_t why_bytes) {
    static const char *const places[] = {"hzbench-worker.exe", "../libexec/hzbench/hzbench-worker.exe"};
    char directory[OS_PATH_BYTES];
    const int is_known = os_library_executable_directory(directory, sizeof directory);
    for (size_t i = 0; is_known && i < sizeof places / sizeof places[0]; i++) {
        int written = snprintf(out, out_bytes, "%s/%s", directory, places[i]);
        if (written > 0 && (size_t)written < out_bytes && os_library_is_file(out))
            return 1;
    }
    snprintf(why, why_bytes, "hzbench-worker is not beside runner - build everything (ninja -C BUILD)");
    return 0;
}
