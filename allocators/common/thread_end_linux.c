// SPDX-License-Identifier: Apache-2.0
// thread_end.h: the destructor of a key. The key is taken when the library is loaded, before a program can take them
// all. When there was none even then, the C++ runtime's list of destructors serves; it is the second choice because
// registering waits for the dynamic linker's lock, which a dlopen may hold that waits for this very thread.
#include "thread_end.h"

#include "compiler.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

extern int __cxa_thread_atexit_impl(void (*function)(void *), void *argument, void *library) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

static _Atomic uint64_t key_plus_one; // 0: none yet

static void run(void *ignored) {
    (void)ignored;
    hz_thread_end();
}

// 1 when there is a key. Without a lock: there is none that a fork would have to take care of.
static int take_key(void) {
    if (atomic_load_explicit(&key_plus_one, memory_order_relaxed) != 0)
        return 1;
    pthread_key_t key;
    uint64_t none = 0;
    if (pthread_key_create(&key, run) != 0)
        return 0;
    // A program that forgets to create its key uses key 0: that must go on failing.
    if (key == 0) {
        pthread_key_t zero = key;
        int found = pthread_key_create(&key, run) == 0;
        pthread_key_delete(zero);
        if (!found)
            return 0;
    }
    if (!atomic_compare_exchange_strong_explicit(&key_plus_one, &none, (uint64_t)key + 1, memory_order_relaxed,
                                                 memory_order_relaxed))
        pthread_key_delete(key); // another thread was faster
    return 1;
}

__attribute__((constructor)) static void take_key_at_load(void) {
    take_key();
}

// Registering allocates 32 bytes and ends the program if that fails: then the heap is better left behind.
static void watch_without_key(void) {
    void *trial = malloc(4 * sizeof(void *));
    if (trial == NULL)
        return;
    free(trial);
    __cxa_thread_atexit_impl(run, NULL, &__dso_handle);
}

void hz_thread_end_register(void) {
    int saved = errno;
    if (take_key()) // any value but NULL
        pthread_setspecific((pthread_key_t)(atomic_load_explicit(&key_plus_one, memory_order_relaxed) - 1),
                            &key_plus_one);
    else if (__cxa_thread_atexit_impl != NULL)
        watch_without_key();
    errno = saved;
}
