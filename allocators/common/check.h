// SPDX-License-Identifier: Apache-2.0
// Last words: one line on standard error, made without allocation, and the end of the process.
#ifndef HZ_CHECK_H
#define HZ_CHECK_H

#include "compiler.h"

// A line of text on the stack; what does not fit is cut.
struct check_line {
    size_t bytes;
    char text[480];
};

void check_line_text(struct check_line *line, const char *text);
void check_line_hex(struct check_line *line, uint64_t value);
void check_line_number(struct check_line *line, uint64_t value);
void check_line_write(struct check_line *line); // adds the newline

_Noreturn HZ_COLD void check_failed(const char *what, const char *file, int line);

// Our own bug: the heap contradicts itself. Compiled in all builds; only for slow paths.
#define HZ_ASSERT(condition)                                                                                           \
    do {                                                                                                               \
        if (HZ_UNLIKELY(!(condition)))                                                                                 \
            check_failed(#condition, __FILE__, __LINE__);                                                              \
    } while (0)

#endif
