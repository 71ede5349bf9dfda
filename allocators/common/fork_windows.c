// SPDX-License-Identifier: Apache-2.0
// fork.h: nothing forks here.
#include "fork.h"

_Atomic uint32_t hz_fork_is_coming;

void hz_fork_wait(void) {
}

void hz_fork_wait_idle(_Atomic uint32_t *is_busy) {
    (void)is_busy;
}

int hz_fork_is_alone(void) {
    return 1;
}
