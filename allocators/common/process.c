// SPDX-License-Identifier: Apache-2.0
// process.h
#include "process.h"

#include "arena.h"
#include "check.h"
#include "hzn.h"
#include "os_mem.h"

#include <pthread.h>

_Atomic int hz_is_ready;

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

// What is decommitted, protected or counted by pages would be wrong without a word.
static void refuse_other_pages(void) {
    if (os_mem_page_bytes() == OS_PAGE_BYTES)
        return;
    struct check_line line = {0};
    check_line_text(&line, hzbench_allocator.name);
    check_line_text(&line, ": this system has pages of ");
    check_line_number(&line, os_mem_page_bytes());
    check_line_text(&line,
                    " bytes, and this allocator works with pages of 4096 bytes only - use another allocator here");
    check_line_write(&line);
    os_exit(ALLOCATOR_EXIT_REFUSED);
}

HZ_COLD int hz_init_slow(void) {
    pthread_mutex_lock(&start_lock);
    int is_ready = atomic_load_explicit(&hz_is_ready, memory_order_relaxed);
    refuse_other_pages();
    if (!is_ready && hzn_start()) {
        is_ready = 1;
        // ORDER: release: all that hzn_start() wrote; partner: the acquire load in hz_init().
        atomic_store_explicit(&hz_is_ready, is_ready, memory_order_release);
    }
    pthread_mutex_unlock(&start_lock);
    return is_ready;
}

void hz_fork_lock(void) {
    pthread_mutex_lock(&start_lock);
    hzn_fork_lock();
    arena_fork_prepare();
}

void hz_fork_inherit(void) {
    arena_fork_inherit();
    hzn_fork_inherit();
}

void hz_fork_unlock(void) {
    arena_fork_done();
    hzn_fork_unlock();
    pthread_mutex_unlock(&start_lock);
}
