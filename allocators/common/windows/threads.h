// SPDX-License-Identifier: Apache-2.0
// The one call of C11's threads that the allocators use; mingw-w64 has no such header. Layer: common.
#ifndef HZ_WINDOWS_THREADS_H
#define HZ_WINDOWS_THREADS_H

void thrd_yield(void);

#endif
