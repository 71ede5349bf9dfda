// SPDX-License-Identifier: Apache-2.0
// Sentences on lines that fit a terminal. Layer: runner.
#ifndef HZBENCH_WRAP_H
#define HZBENCH_WRAP_H

#include "buffer.h"

#define WRAP_WIDTH 80

// Appends the words of `text` in lines of at most WRAP_WIDTH columns, each after `indent` blanks; a percent sign stays
// with its number. Returns the number of lines.
int wrap_text(struct buffer *out, const char *text, int indent);

#endif
