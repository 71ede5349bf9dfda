// SPDX-License-Identifier: Apache-2.0
// The few POSIX threads calls of the allocators on Windows: mutexes as slim locks, thread exit as a callback of
// fibre-local storage. Not winpthreads: that allocates from the C library and keeps a record of every thread it meets,
// inside the allocator that is measured. Only the allocators are compiled with this directory. Layer: common.
#ifndef HZ_WINDOWS_PTHREAD_H
#define HZ_WINDOWS_PTHREAD_H

typedef struct {
    void *word; // an SRWLOCK
} pthread_mutex_t;

typedef struct {
    void *word; // an INIT_ONCE
} pthread_once_t;

typedef unsigned pthread_key_t;

#define PTHREAD_MUTEX_INITIALIZER                                                                                      \
    { 0 }
#define PTHREAD_ONCE_INIT                                                                                              \
    { 0 }

int pthread_mutex_lock(pthread_mutex_t *mutex);
int pthread_mutex_trylock(pthread_mutex_t *mutex); // 0, or EBUSY
int pthread_mutex_unlock(pthread_mutex_t *mutex);
int pthread_once(pthread_once_t *once, void (*body)(void));

// One key a library. The destructor runs when a thread ends, and once more if the value was set again after that by
// what other libraries do at the end of a thread.
int pthread_key_create(pthread_key_t *key, void (*destructor)(void *value));
int pthread_setspecific(pthread_key_t key, const void *value);

#endif
