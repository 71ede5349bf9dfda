// SPDX-License-Identifier: Apache-2.0
// Words by which threads agree without a lock. Each kind of word has a struct type of its own, so that no atomic of the
// language compiles on it, and a table of the steps that threads make on it:
//
//   HZ_STEP(word, type, name, KIND, from, to, order)    defines word_name(), the step as an inline function, and
//                                                       word_name_from, _to, _order, what the table says
//
// The explorers in tests/model read the same tables, so a step that changes in the code has changed in the model, too.
// Their machine has a buffer of stores for each thread, which is all that x86 reorders; Arm reorders more. What must
// hold there is argued in C11's terms at each step that is not relaxed: a release and the acquire that reads it, or,
// where each of two threads writes one word and then looks at the other's, four accesses in the one order of seq_cst,
// so that one of the two sees the other's write.
#ifndef HZ_PROTOCOL_H
#define HZ_PROTOCOL_H

#include "compiler.h"

#include <stdatomic.h>

// tests/headers allows the member's name in this file and in the files *_states.h only.
#define HZ_PROTOCOL_WORD(word, type)                                                                                   \
    struct word {                                                                                                      \
        _Atomic type protocol_word;                                                                                    \
    };

#define HZ_ANY 0xff // in a table: no certain value, or one that the caller gives

// Reads the word.
#define HZ_STEP_LOAD(word, type, name, from, to, order)                                                                \
    HZ_INLINE type word##_##name(const struct word *at) {                                                              \
        return atomic_load_explicit(&at->protocol_word, order);                                                        \
    }

// Reads the word and tells whether it is `from`.
#define HZ_STEP_LOOK(word, type, name, from, to, order)                                                                \
    HZ_INLINE int word##_##name(const struct word *at) {                                                               \
        return atomic_load_explicit(&at->protocol_word, order) == (from);                                              \
    }

// Writes `to`. The word is `from`, and nobody else changes it.
#define HZ_STEP_STORE(word, type, name, from, to, order)                                                               \
    HZ_INLINE void word##_##name(struct word *at) {                                                                    \
        atomic_store_explicit(&at->protocol_word, to, order);                                                          \
    }

// Writes `to`. The caller has seen the word as `from`; what others have made of it since is covered.
#define HZ_STEP_COVER HZ_STEP_STORE

// Writes what the caller gives.
#define HZ_STEP_PUT(word, type, name, from, to, order)                                                                 \
    HZ_INLINE void word##_##name(struct word *at, type value) {                                                        \
        atomic_store_explicit(&at->protocol_word, value, order);                                                       \
    }

// Writes `to` if the word is `from`; 1 if so.
#define HZ_STEP_SWAP(word, type, name, from, to, order)                                                                \
    HZ_INLINE int word##_##name(struct word *at) {                                                                     \
        type expected = from;                                                                                          \
        return atomic_compare_exchange_strong_explicit(&at->protocol_word, &expected, to, order,                       \
                                                       memory_order_relaxed);                                          \
    }

// Writes what the caller gives if the word is `from`; 1 if so.
#define HZ_STEP_FILL(word, type, name, from, to, order)                                                                \
    HZ_INLINE int word##_##name(struct word *at, type value) {                                                         \
        type expected = from;                                                                                          \
        return atomic_compare_exchange_strong_explicit(&at->protocol_word, &expected, value, order,                    \
                                                       memory_order_relaxed);                                          \
    }

// Writes what the caller gives if the word is *expected; 1 if so. Otherwise, or now and then, *expected becomes what
// the word is, for another attempt.
#define HZ_STEP_PUSH(word, type, name, from, to, order)                                                                \
    HZ_INLINE int word##_##name(struct word *at, type *expected, type value) {                                         \
        return atomic_compare_exchange_weak_explicit(&at->protocol_word, expected, value, order,                       \
                                                     memory_order_relaxed);                                            \
    }

// Writes `to`; what the word was. `from` is what the caller hopes for.
#define HZ_STEP_EXCHANGE(word, type, name, from, to, order)                                                            \
    HZ_INLINE type word##_##name(struct word *at) {                                                                    \
        return atomic_exchange_explicit(&at->protocol_word, to, order);                                                \
    }

// Sets bits; what the word was.
#define HZ_STEP_OR(word, type, name, from, to, order)                                                                  \
    HZ_INLINE type word##_##name(struct word *at, type bits) {                                                         \
        return atomic_fetch_or_explicit(&at->protocol_word, bits, order);                                              \
    }

// Of no word: all that the thread has written is visible before it reads on.
#define HZ_STEP_FENCE(word, type, name, from, to, order)                                                               \
    HZ_INLINE void word##_##name(void) {                                                                               \
        atomic_thread_fence(order);                                                                                    \
    }

#define HZ_STEP_DEFINE(word, type, name, kind, from, to, order)                                                        \
    enum {                                                                                                             \
        word##_##name##_from = (from),                                                                                 \
        word##_##name##_to = (to),                                                                                     \
        word##_##name##_order = (order),                                                                               \
    };                                                                                                                 \
    HZ_STEP_##kind(word, type, name, from, to, order)

#endif
