// SPDX-License-Identifier: Apache-2.0
// Random numbers of the workloads: splitmix64 (Steele, Lea and Flood 2014) where the state must fit one register of a
// timed loop, xoshiro256** (Blackman and Vigna 2018) for shuffles, which need more than 64 bits of state.
// Bounded numbers take the high half of a product: no division, no low bits. Layer: workloads, no dependencies.
#ifndef HZBENCH_RNG_H
#define HZBENCH_RNG_H

#include <stdint.h>

#define RNG_GAMMA UINT64_C(0x9e3779b97f4a7c15) // odd, nearest to 2^64 / golden ratio
#define RNG_PPM 1000000u                       // shares are given in millionths

// What a stream decides. Streams of one seed differ in origin, so that drawing more of one never shifts another.
enum rng_stream { RNG_SIZE = 1, RNG_SLOT, RNG_REMOTE, RNG_PARTNER, RNG_KIND, RNG_ORDER, RNG_AGE_SIZE, RNG_AGE_SLOT };

struct rng_xoshiro {
    uint64_t s[4]; // never all zero
};

static inline uint64_t rng_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t rng_splitmix(uint64_t *state) {
    *state += RNG_GAMMA;
    return rng_mix(*state);
}

// Origin of a stream: a hash of all three, so that neighbouring seeds and threads start far apart.
static inline uint64_t rng_origin(uint64_t seed, uint32_t thread, enum rng_stream stream) {
    uint64_t state = rng_mix(seed + RNG_GAMMA);
    state = rng_mix(state + ((uint64_t)thread << 8) + (uint64_t)stream);
    return rng_mix(state ^ RNG_GAMMA);
}

static inline uint64_t rng_rotl(uint64_t x, unsigned k) {
    return (x << k) | (x >> (64 - k));
}

static inline void rng_xoshiro_seed(struct rng_xoshiro *rng, uint64_t origin) {
    for (int i = 0; i < 4; i++)
        rng->s[i] = rng_splitmix(&origin); // four successive outputs of a bijection: at most one can be zero
}

static inline uint64_t rng_xoshiro_next(struct rng_xoshiro *rng) {
    uint64_t *s = rng->s;
    const uint64_t result = rng_rotl(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rng_rotl(s[3], 45);
    return result;
}

__extension__ typedef unsigned __int128
    rng_wide; // the one typedef: __extension__ keeps -Wpedantic quiet about 128 bits

// Uniform in [0, bound), from the high bits of `random`; bias below bound / 2^64. 0 for bound 0.
static inline uint64_t rng_bounded(uint64_t random, uint64_t bound) {
    return (uint64_t)(((rng_wide)random * bound) >> 64);
}

// Selection sampling (Fan, Muller and Rezucha 1962; Knuth's algorithm S): of the `*total` decisions left, `*chosen`
// will be 1, exactly. No division: the draw is scaled to [0, total) and compared.
static inline uint32_t rng_select(uint64_t random, uint64_t *chosen, uint64_t *total) {
    const uint32_t yes = rng_bounded(random, *total) < *chosen;
    *chosen -= yes;
    *total -= 1;
    return yes;
}

// round(ppm / 10^6 * count), halves up, without overflow.
static inline uint64_t rng_share(uint64_t count, uint32_t ppm) {
    return (uint64_t)(((rng_wide)count * ppm + RNG_PPM / 2) / RNG_PPM);
}

#endif
