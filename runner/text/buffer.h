// SPDX-License-Identifier: Apache-2.0
// A text that grows while it is printed to; what runs out of memory is noticed once, at the end. Layer: runner.
#ifndef HZBENCH_BUFFER_H
#define HZBENCH_BUFFER_H

#include <stddef.h>

struct buffer {
    char *bytes; // `used` and a NUL, of `room`; {0} is the empty text
    size_t used, room;
    int is_broken; // memory ran out
};

__attribute__((format(printf, 2, 3))) void buffer_print(struct buffer *buffer, const char *format, ...);
void buffer_put(struct buffer *buffer, char byte);

// The whole, to be freed by the caller, and its length; NULL when it is broken. The text is empty then.
char *buffer_take(struct buffer *buffer, size_t *bytes);

#endif
