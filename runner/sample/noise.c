// SPDX-License-Identifier: Apache-2.0
// The reference loop and the rule. Layer: runner.
#include "noise.h"

#include "../system/os.h"

#include <stdio.h>

#define LOOP_STEPS 150000 // some 0.2 ms at three or four cycles each
#define LOOP_TIMES 40

uint64_t noise_loop_ns(void) {
    uint64_t value = 1;
    const uint64_t begin_ns = os_now_ns();
    for (int i = 0; i < LOOP_STEPS; i++) {
        value = value * UINT64_C(6364136223846793005) + 1;
        __asm__ volatile("" : "+r"(value)); // each step for itself: no shorter way to the same number
    }
    return os_now_ns() - begin_ns;
}

uint64_t noise_fastest_loop_ns(void) {
    uint64_t best_ns = UINT64_MAX;
    for (int i = 0; i < LOOP_TIMES; i++) {
        const uint64_t ns = noise_loop_ns();
        best_ns = ns < best_ns ? ns : best_ns;
    }
    return best_ns;
}

static int exceeds(uint64_t part, double limit, double whole) {
    return part != UINT64_MAX && (double)part > limit * whole;
}

uint64_t noise_is_contaminated(const struct noise_sample *sample, char *reason, size_t reason_bytes) {
    const struct noise *noise = sample->noise;
    const double elapsed_ns = (double)sample->elapsed_ns;
    const double reference_ns = (double)noise->reference_loop_fastest_ns;
    const int has_reference = noise->reference_loop_fastest_ns != UINT64_MAX;
    reason[0] = '\0';
    if (sample->elapsed_ns == UINT64_MAX)
        return UINT64_MAX;
    const struct {
        const char *name;
        int applies;
    } rules[] = {
        // More threads than CPUs wait for one another; that is the experiment.
        {"run-delay", sample->threads <= sample->pus &&
                          exceeds(sample->run_delay_ns, NOISE_RUN_DELAY, elapsed_ns * sample->threads)},
        {"slow-cpu", has_reference && (exceeds(noise->reference_loop_before_ns, NOISE_REFERENCE_LOOP, reference_ns) ||
                                       exceeds(noise->reference_loop_after_ns, NOISE_REFERENCE_LOOP, reference_ns))},
        {"steal", exceeds(noise->steal_ns, NOISE_STEAL, elapsed_ns * sample->pus)},
        {"memory-pressure", exceeds(noise->pressure_memory_ns, NOISE_PRESSURE_MEMORY, elapsed_ns)},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && at < reason_bytes; i++)
        if (rules[i].applies)
            at += (size_t)snprintf(reason + at, reason_bytes - at, "%s%s", at ? ";" : "", rules[i].name);
    return at != 0;
}
