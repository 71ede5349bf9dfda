// SPDX-License-Identifier: Apache-2.0
// purge.h
#include "purge.h"

#include "arena.h"
#include "check.h"
#include "hzn.h"
#include "os_mem.h"
#include "process.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#define STACK_BYTES HZ_KIB(128)

const char hz_purge_thread_values[] = "0|1";

static int is_wanted;

int hz_purge_thread_set(const char *value) {
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        return 0;
    is_wanted = *value == '1';
    return 1;
}

static void *run(void *unused) {
    while (arena_wait_idle()) {
        hzn_release_idle();
        arena_end_idle();
    }
    return unused;
}

// The thread inherits the mask that is set while it is created.
static int start(void) {
    sigset_t all;
    sigset_t before;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&all);
    if (pthread_attr_init(&attributes) != 0)
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&thread, &attributes, run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return result == 0;
}

static int is_asked_for(void) {
    const char *options = os_environment(hzn_options_variable);
    return options != NULL && strstr(options, "purge_thread=") != NULL && hz_init() && is_wanted;
}

// Of all libraries' constructors ours come first (-z initfirst), so most programs have one thread still.
__attribute__((constructor)) static void start_at_load(void) {
    if (!is_asked_for() || start())
        return;
    struct check_line line = {0};
    check_line_text(&line, hzbench_allocator.name);
    check_line_text(&line, ": purge_thread=1: no thread could be created (limits of processes or memory), so memory "
                           "goes back only when the program allocates or frees");
    check_line_write(&line);
}

__attribute__((destructor)) static void end_at_exit(void) {
    arena_stop_waiting();
}
