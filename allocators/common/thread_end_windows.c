// SPDX-License-Identifier: Apache-2.0
// thread_end.h: the key of windows/pthread_windows.c.
#include "thread_end.h"

#include <errno.h>
#include <pthread.h>

static void run(void *ignored) {
    (void)ignored;
    hz_thread_end();
}

void hz_thread_end_register(void) {
    int saved = errno;
    pthread_key_t key;
    if (pthread_key_create(&key, run) == 0) // one a library, however often
        pthread_setspecific(key, &key);
    errno = saved;
}
