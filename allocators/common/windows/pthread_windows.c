// SPDX-License-Identifier: Apache-2.0
// pthread.h and threads.h beside this file, over the system's own primitives. Owns the key of the library.
#include "pthread.h"
#include "threads.h"

#include <errno.h>
#include <windows.h>

_Static_assert(sizeof(pthread_mutex_t) == sizeof(SRWLOCK), "pthread_mutex_t is an SRWLOCK");
_Static_assert(sizeof(pthread_once_t) == sizeof(INIT_ONCE), "pthread_once_t is an INIT_ONCE");

static struct {
    DWORD slot; // FLS_OUT_OF_INDEXES: no key yet
    void (*destructor)(void *value);
} key = {.slot = FLS_OUT_OF_INDEXES};

static _Thread_local void *key_value; // what the destructor gets; NULL when it has run

int pthread_mutex_lock(pthread_mutex_t *mutex) {
    AcquireSRWLockExclusive((SRWLOCK *)(void *)mutex);
    return 0;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex) {
    return TryAcquireSRWLockExclusive((SRWLOCK *)(void *)mutex) ? 0 : EBUSY;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    ReleaseSRWLockExclusive((SRWLOCK *)(void *)mutex);
    return 0;
}

static BOOL CALLBACK run_once(INIT_ONCE *once, void *body, void **context) {
    (void)once;
    (void)context;
    (*(void (**)(void))body)();
    return TRUE;
}

int pthread_once(pthread_once_t *once, void (*body)(void)) {
    return InitOnceExecuteOnce((INIT_ONCE *)(void *)once, run_once, &body, NULL) ? 0 : EINVAL;
}

static void destroy_value(void) {
    void *value = key_value;
    key_value = NULL;
    if (value != NULL)
        key.destructor(value);
}

static void CALLBACK thread_exit(void *ignored) {
    (void)ignored;
    destroy_value();
}

int pthread_key_create(pthread_key_t *out, void (*destructor)(void *value)) {
    key.destructor = destructor;
    if (key.slot == FLS_OUT_OF_INDEXES)
        key.slot = FlsAlloc(thread_exit);
    *out = key.slot;
    return key.slot != FLS_OUT_OF_INDEXES ? 0 : EAGAIN;
}

int pthread_setspecific(pthread_key_t slot, const void *value) {
    DWORD saved = GetLastError();
    int done = FlsSetValue(slot, (void *)(uintptr_t)value);
    SetLastError(saved);
    if (done)
        key_value = (void *)(uintptr_t)value;
    return done ? 0 : ENOMEM;
}

void thrd_yield(void) {
    SwitchToThread();
}

BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, void *reserved);
BOOL WINAPI DllMain(HINSTANCE library, DWORD reason, void *reserved) {
    (void)reserved;
    HMODULE pinned;
    // Code of ours runs at thread exit: the library is never unloaded, as on Linux (-z nodelete).
    if (reason == DLL_PROCESS_ATTACH)
        GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                           (const char *)(const void *)library, &pinned);
    if (reason == DLL_THREAD_DETACH)
        destroy_value();
    return TRUE;
}
