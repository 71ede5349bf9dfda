// SPDX-License-Identifier: Apache-2.0
// thread_end.h
#include "thread_end.h"

HZ_THREAD_LOCAL int hz_thread_has_ended;

void hz_thread_end(void) {
    hz_thread_has_ended = 1;
    hzn_thread_fini();
}

void hz_thread_end_watch(void) {
    if (!hz_thread_has_ended)
        hz_thread_end_register();
}
