// SPDX-License-Identifier: Apache-2.0
// thread_end.h
#include "thread_end.h"

#include "arena.h"

HZ_THREAD_LOCAL int hz_thread_has_ended;

void hz_thread_end(void) {
    hz_thread_has_ended = 1;
    int had_heap = hzn_heap_of_thread() != NULL;
    hzn_thread_fini();
    if (had_heap)
        arena_thread_ended();
}

void hz_thread_end_watch(void) {
    if (!hz_thread_has_ended)
        hz_thread_end_register();
}
