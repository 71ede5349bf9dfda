// SPDX-License-Identifier: Apache-2.0
// Put before every unit of an allocator by -include: counts the locked instructions that the calling thread executes,
// those of its mutexes included. Layer: test support; takes the place of stdatomic.h's operations.
#ifndef TESTS_SUPPORT_COUNT_ATOMICS_H
#define TESTS_SUPPORT_COUNT_ATOMICS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

extern _Thread_local uint64_t count_atomics;

// Each compiler's own names of what stdatomic.h stands for; clang's __atomic_ ones take no _Atomic object.
#ifdef __clang__
#define COUNTED(operation) __c11_atomic_##operation
#define COUNTED_EXCHANGE COUNTED(exchange)
#define COUNTED_STORE COUNTED(store)
#define COUNTED_COMPARE(object, expected, desired, is_weak, success, failure)                                          \
    (is_weak ? __c11_atomic_compare_exchange_weak((object), (expected), (desired), (success), (failure))               \
             : __c11_atomic_compare_exchange_strong((object), (expected), (desired), (success), (failure)))
#else
#define COUNTED(operation) __atomic_##operation
#define COUNTED_EXCHANGE COUNTED(exchange_n)
#define COUNTED_STORE COUNTED(store_n)
#define COUNTED_COMPARE __atomic_compare_exchange_n
#endif

#undef atomic_exchange_explicit
#define atomic_exchange_explicit(object, value, order) (count_atomics++, COUNTED_EXCHANGE((object), (value), (order)))
#undef atomic_fetch_add_explicit
#define atomic_fetch_add_explicit(object, value, order)                                                                \
    (count_atomics++, COUNTED(fetch_add)((object), (value), (order)))
#undef atomic_fetch_sub_explicit
#define atomic_fetch_sub_explicit(object, value, order)                                                                \
    (count_atomics++, COUNTED(fetch_sub)((object), (value), (order)))
#undef atomic_fetch_or_explicit
#define atomic_fetch_or_explicit(object, value, order) (count_atomics++, COUNTED(fetch_or)((object), (value), (order)))
#undef atomic_fetch_and_explicit
#define atomic_fetch_and_explicit(object, value, order)                                                                \
    (count_atomics++, COUNTED(fetch_and)((object), (value), (order)))
// A failed comparison is one as well.
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(object, expected, desired, success, failure)                           \
    (count_atomics++, COUNTED_COMPARE((object), (expected), (desired), 0, (success), (failure)))
#undef atomic_compare_exchange_weak_explicit
#define atomic_compare_exchange_weak_explicit(object, expected, desired, success, failure)                             \
    (count_atomics++, COUNTED_COMPARE((object), (expected), (desired), 1, (success), (failure)))
// ORDER: none of its own, the caller's. A sequentially consistent store is an exchange on x86 and counts as one.
#undef atomic_store_explicit
#define atomic_store_explicit(object, value, order)                                                                    \
    (count_atomics += (order) == memory_order_seq_cst, COUNTED_STORE((object), (value), (order)))
#define pthread_mutex_lock(mutex) (count_atomics++, (pthread_mutex_lock)(mutex))
#define pthread_mutex_trylock(mutex) (count_atomics++, (pthread_mutex_trylock)(mutex))
#define pthread_mutex_unlock(mutex) (count_atomics++, (pthread_mutex_unlock)(mutex))

#endif
